"""Small runs that one process makes alone, or two started by torchrun together; see `test_devices.py`.

torchrun --nproc-per-node 2 tests/shared_work.py FOLDER CASE...
"""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.tensor import DTensor
from trainers import Record

from seqmodels import (
    GRU,
    LSTM,
    RWKV7,
    Hybrid,
    LanguageModel,
    TextDataModule,
    Transformer,
    TranslationDataModule,
    Translator,
    fit,
)
from seqmodels.data import SequenceDataModule
from seqmodels.tasks import SequenceTask

STEPS = 20
WITH_DIAGNOSTICS = ("fsdp-lstm", "fsdp-attends")
"""Cases whose gradients and spectra are looked at, which takes longer than training."""
Built = tuple[SequenceTask, SequenceDataModule]


class Case(NamedTuple):
    """What is trained on a folder with `text.txt` and pairs, by a number of processes, and how."""

    build: Callable[[Path, int], Built]
    settings: dict[str, Any]
    tolerance: float
    """Relative, and a tenth of it absolute."""


def seeded() -> None:
    """Weights of the first process count: every other draws its own."""
    torch.manual_seed(int(os.environ.get("RANK", 0)))


def model(folder: Path, processes: int, network: str, carry: bool = False, **settings: Any) -> Built:
    data = TextDataModule(str(folder / "text.txt"), length=16, batch_size=8 // processes, carry=carry, val_fraction=0.3)
    seeded()
    networks = {
        "LSTM": lambda: LSTM(8, 16, num_layers=2, learn_initial_state=True),
        "GRU": lambda: GRU(8, 16),
        "Hybrid": lambda: Hybrid(16, "LSTM,attention,MinGRU", num_heads=2, norm="rms", activation="swiglu"),
        "Transformer": lambda: Transformer(16, num_layers=2, num_heads=2),
        "RWKV7": lambda: RWKV7(16, num_layers=2, num_heads=2, decay_rank=4, rate_rank=4, gate_rank=4),
        "memories": lambda: Hybrid(16, "GatedDeltaNet,attention,RetNet,MLSTM,Mamba2,RGLRU,SLSTM", num_heads=2),
    }
    return LanguageModel(networks[network](), data.tokenizer, lr=1e-2, **settings), data


def translator(folder: Path, processes: int, attends: bool, joint: bool = True) -> Built:
    data = TranslationDataModule(str(folder), "en", "fr", tokenizer="word", batch_tokens=400 // processes, joint=joint)
    seeded()
    if not joint:
        return Translator(GRU(16, 16), GRU(16, 32), data.tokenizer, data.source_tokenizer, "general", lr=2e-2), data
    if attends:
        parts = Transformer(16, num_layers=2, num_heads=2, causal=False), Transformer(16, 2, 2, memory_size=16)
        return Translator(*parts, data.tokenizer, lr=1e-2, tie_embeddings="all"), data
    return Translator(GRU(16, 16), GRU(16, 32), data.tokenizer, lr=2e-2, label_smoothing=0.1), data


CASES = {
    "windows": Case(lambda *at: model(*at, "LSTM"), {"precision": "64-true", "accumulate": 2, "clip": 0.1}, 1e-9),
    "lanes": Case(
        lambda *at: model(*at, "GRU", carry=True),
        {"precision": "64-true", "clip": 1e-3, "clip_by": "value", "recompute": 5},
        1e-9,
    ),
    "muon": Case(lambda *at: model(*at, "Transformer", optimizer="muon"), {"precision": "64-true"}, 1e-3),
    "bf16": Case(lambda *at: model(*at, "LSTM"), {"precision": "bf16-mixed"}, 1e-2),
    "pairs": Case(lambda *at: translator(*at, False, joint=False), {"precision": "64-true", "accumulate": 2}, 1e-7),
    "rwkv7": Case(lambda *at: model(*at, "RWKV7", carry=True), {"precision": "64-true"}, 1e-7),
    "memories": Case(lambda *at: model(*at, "memories", carry=True), {"precision": "64-true"}, 1e-7),
    "fsdp-rwkv7": Case(lambda *at: model(*at, "RWKV7", carry=True), {}, 1e-3),
    "fsdp-memories": Case(lambda *at: model(*at, "memories", carry=True), {}, 1e-3),
    "fsdp-lstm": Case(lambda *at: model(*at, "LSTM", carry=True), {"clip": 0.1}, 1e-4),
    "fsdp-transformer": Case(
        lambda *at: model(*at, "Transformer", tie_embeddings=True), {"clip": 1e-3, "clip_by": "value"}, 1e-4
    ),
    "fsdp-bf16": Case(lambda *at: model(*at, "Hybrid"), {"precision": "bf16-mixed"}, 1e-2),
    "fsdp-bf16-lstm": Case(lambda *at: model(*at, "LSTM", carry=True), {"precision": "bf16-mixed"}, 1e-2),
    "fsdp-bf16-additive": Case(lambda *at: translator(*at, False), {"precision": "bf16-mixed"}, 5e-2),
    "fsdp-additive": Case(lambda *at: translator(*at, False), {}, 1e-4),
    "fsdp-attends": Case(lambda *at: translator(*at, True), {"accumulate": 2, "recompute": "blocks"}, 1e-4),
}


USUAL = ("windows", "lanes", "muon", "pairs", "fsdp-lstm", "fsdp-attends")
"""What is tried by a test that is not slow."""


class Held(pl.Callback):
    """Writes down how many numbers a process holds at the end: weights, and moments of the optimizer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kept = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        counts = [
            sum(part.to_local().numel() if isinstance(part, DTensor) else part.numel() for part in parts)
            for parts in (pl_module.parameters(), [value for value in kept if value.ndim])
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{trainer.global_rank} of {trainer.world_size}.json").write_text(json.dumps(counts))


class Sent(pl.Callback):
    """Writes down how often a process sends gradients to the others under DDP: small ones, all at once."""

    def __init__(self, path: Path) -> None:
        self.path, self.times = path, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(trainer.model, torch.nn.parallel.DistributedDataParallel):
            trainer.model.register_comm_hook(None, self.send)

    def send(self, group: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.times += 1
        return allreduce_hook(torch.distributed.group.WORLD, bucket)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(str(self.times))


def run(name: str, folder: Path, processes: int, resume: Path | None = None, nodes: int = 1) -> Path:
    """Train a case, by so many processes on so many machines; returns the run folder."""
    case = CASES[name]
    task, data = case.build(folder, processes)
    settings = {"strategy": "fsdp"} if name.startswith("fsdp") and processes > 1 else {}
    runs = folder / f"{processes}{'-resumed' if resume else ''}"
    half = Record(STEPS // 2, runs / f"{name}.safetensors")
    looks = half, Held(folder / "held" / name), Sent(folder / "sent" / f"{name} of {processes}")
    return fit(
        task, data, max_steps=STEPS, validations=1, devices=processes // nodes, nodes=nodes, accelerator="cpu",
        runs=str(runs / name), diagnostics=name in WITH_DIAGNOSTICS, resume=resume,
        callbacks=looks, **settings, **case.settings,
    )  # fmt: skip


def figures(folder: Path) -> dict[str, float]:
    """What a run logged: the only line of training, and that of validation."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    return {name: float(value) for row in rows for name, value in row.items() if value}


def main(folder: Path, names: list[str]) -> None:
    runs = {name: str(run(name, folder, 2)) for name in names}
    runs["resumed"] = str(run("fsdp-lstm", folder, 2, resume=folder / "1" / "fsdp-lstm.safetensors"))
    (folder / f"runs-{torch.distributed.get_rank()}.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
