#!/usr/bin/env bash
# lightning 2.6.6 with torch 2.13.0 (Python 3.11)
#
# Guess: a training that is stopped and resumed twice sees the epochs of one that is left alone.
#
# Seen: so it does if it is stopped in the middle of epochs. If both checkpoints were saved in `on_train_batch_end` of
# the last batch of an epoch, as `ModelCheckpoint(every_n_train_steps=...)` does, the first resumed training begins the
# next epoch, but counts it as the one that was complete: `on_train_epoch_start` is not called, and `ready` and `started`
# stay one behind. The second resumed training takes its checkpoint for something else than the end of an epoch, and sees
# the epoch before once more.
#
# Output seen:
#   left alone: epochs of the batches [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], starts of epochs 6
#   stopped in the middle of epochs: epochs of the batches [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], starts of epochs 6
#   stopped at the ends of epochs: epochs of the batches [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4], starts of epochs 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 lightning==2.6.6 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, number):
        return self.layer(batch[0]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Seen(pl.Callback):
    """Epochs by the sampler, which are told by Lightning, and how often an epoch began."""

    def __init__(self):
        self.epochs, self.starts = [], 0

    def on_train_epoch_start(self, trainer, model):
        self.starts += 1

    def on_train_batch_start(self, trainer, model, batch, number):
        self.epochs.append(trainer.train_dataloader.sampler.epoch)


def train(name, *stops):
    seen, path = Seen(), None
    for steps in (*stops, 12):
        data = TensorDataset(torch.ones(4, 1))
        loader = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, 1, 0))
        saved = ModelCheckpoint(Path(name), filename=str(steps), every_n_train_steps=1, save_top_k=-1)
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[seen, saved],
        )
        trainer.fit(Model(), loader, ckpt_path=path, weights_only=False)
        path = str(max(Path(name).glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns))
    print(f"{name}: epochs of the batches {seen.epochs}, starts of epochs {seen.starts}")
    return seen


wanted = [number // 2 for number in range(12)]
assert train("left alone").epochs == wanted
assert train("stopped in the middle of epochs", 3, 7).epochs == wanted
ends = train("stopped at the ends of epochs", 4, 8)
assert ends.epochs == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4]
assert ends.starts == 5
PYTHON
