#!/usr/bin/env bash
# lightning 2.6.6 with torch 2.13.0 (Python 3.11)
#
# Guess: with `precision="64-true"` a resumed training goes on from the weights that were saved, and weight averaging
# works as it does in single precision.
#
# Seen: (1) The checkpoint holds doubles, but its weights are restored before the module is converted, so they pass
# through single precision: training goes on from rounded weights, while the moments keep all digits. A module that was
# converted before, `module.double()`, keeps them. (2) The callback `WeightAveraging` copies the module before it is
# converted; with torch's `get_ema_multi_avg_fn` the first update raises an error.
#
# Output seen:
#   saved torch.float64, resumed torch.float64: equal False, equal to the rounded ones True
#   converted before: equal True
#   RuntimeError: expected dtype float for `end` but got dtype double
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
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.manual_seed(1)
rows = torch.randn(64, 3, dtype=torch.float64)


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, index):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)

    def on_train_start(self):
        self.first = self.layer.weight.detach().clone()


def train(model, steps, checkpoint=None, **more):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_steps=steps, precision="64-true", accelerator="cpu", **quiet, **more)
    trainer.fit(model, torch.utils.data.DataLoader(rows, 8), ckpt_path=checkpoint, weights_only=True)
    return trainer


train(Model(), 4).save_checkpoint("part.ckpt")
saved = torch.load("part.ckpt", weights_only=True)["state_dict"]["layer.weight"]
resumed, converted = Model(), Model().double()
for model in (resumed, converted):
    train(model, 8, "part.ckpt")
equal, rounded = torch.equal(resumed.first, saved), torch.equal(resumed.first, saved.float().double())
print(f"saved {saved.dtype}, resumed {resumed.first.dtype}: equal {equal}, equal to the rounded ones {rounded}")
print(f"converted before: equal {torch.equal(converted.first, saved)}")
assert not equal and rounded and torch.equal(converted.first, saved)
try:
    train(Model(), 2, callbacks=[WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(0.9))])
except RuntimeError as error:
    print(f"RuntimeError: {error}")
else:
    raise AssertionError("no error")
PYTHON
