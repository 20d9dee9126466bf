"""A Trainer of one's own on two processes, whole weights or parts of them, does what one process does; started once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from seqmodels import load

SCRIPT = """
import json, sys
from pathlib import Path
import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint
import torch
from seqmodels import FSDPStrategy, InputError, LanguageModel, LSTM, TextDataModule
from seqmodels.environment import quiet

def train(name, devices, strategy, loaders=False, **settings):
    data = TextDataModule(str(folder / "text.txt"), length=16, batch_size=8 // devices, carry=True, val_fraction=0.3)
    torch.manual_seed(0)
    model = LanguageModel(LSTM(8, 16), data.tokenizer)
    saves = ModelCheckpoint(folder / name, "{step}", every_n_train_steps=10, save_top_k=-1)
    trainer = L.Trainer(
        max_steps=30, val_check_interval=10, devices=devices, strategy=strategy, accelerator="cpu", callbacks=[saves],
        gradient_clip_val=0.5, inference_mode=False, logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )
    with quiet():
        if loaders:
            trainer.fit(model, data.train_dataloader())
        trainer.fit(model, datamodule=data, **settings)
        figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
        parts = trainer.predict(model, datamodule=data)
    nats = [-float(part.nansum()) for part in parts]
    (folder / f"{name}-{trainer.global_rank}.json").write_text(json.dumps([figures, sum(nats)]))

folder, devices = Path(sys.argv[1]), int(sys.argv[2])
if devices == 1:
    train("one", 1, "auto")
else:
    train("ddp", 2, "ddp")
    train("resumed", 2, "ddp", ckpt_path=folder / "ddp" / "step=20.ckpt", weights_only=False)
    train("fsdp", 2, FSDPStrategy())
    try:
        train("wrong", 2, "ddp", loaders=True)
    except InputError as error:
        (folder / f"wrong-{sys.argv[2]}.txt").write_text(str(error))
"""


@pytest.fixture(scope="module")
def folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("devices")
    (found / "text.txt").write_bytes(text_file.read_bytes())
    (found / "script.py").write_text(SCRIPT)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        words = [*(start if devices == 2 else []), str(found / "script.py"), str(found), str(devices)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        assert "sync_dist" not in done.stderr
    return found


@pytest.mark.parametrize("name", ["ddp", "fsdp", "resumed"])
def test_two_processes_are_one(folder: Path, name: str) -> None:
    ours, theirs = (load(folder / which / "step=30.ckpt").state_dict() for which in (name, "one"))
    assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    (one, nats), (first, mine), (second, rest) = (
        json.loads((folder / f"{file}.json").read_text()) for file in ("one-0", f"{name}-0", f"{name}-1")
    )
    for figure in ("val/nats_per_token", "val/perplexity", "train/tokens"):
        assert first[figure] == second[figure] == pytest.approx(one[figure], rel=1e-4)
    assert mine + rest == pytest.approx(nats, rel=1e-3)  # each predicts its part of the text


def test_a_resumed_run_of_two_is_the_same_to_the_bit(folder: Path) -> None:
    ours, theirs = (load(folder / name / "step=30.ckpt").state_dict() for name in ("resumed", "ddp"))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_loaders_for_one_process_are_refused_by_two(folder: Path) -> None:
    message = (folder / "wrong-2.txt").read_text()
    assert "divides its batches among 1 processes, and the Trainer has 2" in message
    assert "fit(model, datamodule=data)" in message
