#!/usr/bin/env bash
# lightning 2.6.6 with torch 2.13.0 (Python 3.11)
#
# Guess: `Trainer(overfit_batches=2)` trains on the first two batches again and again, those that the loader gives; a
# loader that draws at random is told to stop, as the documentation says.
#
# Seen: any sampler but a `SequentialSampler` is replaced by one, also a sampler that is in no way random, and also in a
# loader without automatic batches, whose dataset takes keys of another kind. The dataset is asked for the integers 0 and
# 1. `limit_train_batches=2` leaves the sampler as it is.
#
# Output seen:
#   limit_train_batches=2 asks for [('day', 3), ('day', 1), ('day', 3), ('day', 1)]
#   overfit_batches=2 asks for [0, 1, 0, 1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 lightning==2.6.6 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging
import warnings

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Days(Sampler):
    def __iter__(self):
        return iter([("day", 3), ("day", 1), ("day", 2)])

    def __len__(self):
        return 3


class Batches(Dataset):
    def __init__(self):
        self.asked = []

    def __getitem__(self, key):
        self.asked.append(key)
        return torch.ones(2, 1)

    def __len__(self):
        return 3


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, number):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def asked(**setting):
    data = Batches()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **setting,
    )
    trainer.fit(Model(), DataLoader(data, batch_size=None, sampler=Days()))
    print(*(f"{name}={value}" for name, value in setting.items()), "asks for", data.asked)
    return data.asked


assert asked(limit_train_batches=2) == [("day", 3), ("day", 1)] * 2
assert asked(overfit_batches=2) == [0, 1] * 2
PYTHON
