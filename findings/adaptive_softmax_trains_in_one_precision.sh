#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU
#
# Guess: `nn.AdaptiveLogSoftmaxWithLoss`, made of linear layers and log-softmax, works under autocast to bfloat16 like the
# cross-entropy of a linear layer.
#
# Seen: its `log_prob` and `predict` do, its `forward`, which training calls, raises a RuntimeError: it gathers losses
# in a tensor of the inputs' type, and those of the clusters are of another. With inputs that are bfloat16 themselves it
# works, and the losses are then bfloat16, too, with three digits.
#
# Output seen:
#   log_prob float32, predict int64
#   forward: index_copy_(): self and source expected to have the same dtype
#   forward of bfloat16 inputs: bfloat16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
venv/bin/python - > seen.txt 2> errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import torch
from torch import nn

torch.manual_seed(0)
layer, y, targets = nn.AdaptiveLogSoftmaxWithLoss(8, 100, [10, 50]), torch.randn(5, 8), torch.tensor([1, 20, 60, 99, 3])
name = lambda tensor: str(tensor.dtype).removeprefix("torch.")
assert layer(y, targets).loss.dtype == torch.float32
with torch.autocast("cpu", torch.bfloat16):
    print(f"log_prob {name(layer.log_prob(y))}, predict {name(layer.predict(y))}")
    try:
        layer(y, targets)
    except RuntimeError as error:
        print(f"forward: {str(error).split(', but')[0]}")
    print(f"forward of bfloat16 inputs: {name(layer(y.bfloat16(), targets).output)}")
PYTHON
diff - seen.txt <<'TEXT'
log_prob float32, predict int64
forward: index_copy_(): self and source expected to have the same dtype
forward of bfloat16 inputs: bfloat16
TEXT
cat seen.txt
