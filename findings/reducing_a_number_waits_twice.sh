#!/usr/bin/env bash
# lightning 2.6.6 with torch 2.13.0 (Python 3.11), two processes with gloo
#
# Guess: `strategy.reduce(tensor)` of a DDP strategy, and `self.log(..., sync_dist=True)` that ends in it, is one sum over
# the processes.
#
# Seen: each of them waits at a barrier first, and then for the sum: two meetings of all processes for one number. And
# every batch of `fit` begins with one more, by which the first process tells whether it was asked to end.
#
# Output seen:
#   strategy.reduce: all_reduce 1, barrier 1
#   a batch of fit, no logging: broadcast 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lightning==2.6.6
cd "$folder"
cat > count.py <<'PYTHON'
import collections
import logging
import os
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import distributed

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
calls = collections.Counter()


def counted(name):
    original = getattr(distributed, name)

    def call(*args, **kwargs):
        calls[name] += 1
        return original(*args, **kwargs)

    setattr(distributed, name, call)


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append(dict(calls))
        if index == 3:
            before = collections.Counter(calls)
            self.trainer.strategy.reduce(torch.ones(1), reduce_op="mean")
            self.reduced = calls - before
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    model = Model()
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=5, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    for name in ("barrier", "all_reduce", "broadcast", "monitored_barrier", "broadcast_object_list"):
        counted(name)
    trainer.fit(model, torch.utils.data.DataLoader(torch.ones(40, 2), batch_size=2))
    if trainer.global_rank == 0:
        batch = collections.Counter(model.seen[2]) - collections.Counter(model.seen[1])
        tell = lambda found: ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        with open("seen.txt", "w") as file:
            print(f"strategy.reduce: {tell(model.reduced)}", file=file)
            print(f"a batch of fit, no logging: {tell(batch)}", file=file)
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" count.py > log.txt 2>&1 || { cat log.txt; exit 1; }
diff - seen.txt <<'TEXT'
strategy.reduce: all_reduce 1, barrier 1
a batch of fit, no logging: broadcast 1
TEXT
cat seen.txt
