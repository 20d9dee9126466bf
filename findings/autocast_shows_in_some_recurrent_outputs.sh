#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU
#
# Guess: in one region of autocast to bfloat16, recurrent layers of all kinds give outputs of one type, as linear layers
# do: bfloat16.
#
# Seen: all of them multiply in bfloat16, and their outputs differ from those without autocast by some thousandths. But
# those of RNN and RNNCell are of type bfloat16, those of GRU, GRUCell and LSTMCell float32, as their inputs are; behind a
# linear layer they give bfloat16 after all. A state that is carried, or a buffer made for it, has one type or the other
# by the kind of layer and by what stands before it.
#
# Output seen:
#   RNN: bfloat16, behind a linear layer bfloat16
#   GRU: float32, behind a linear layer bfloat16
#   RNNCell: bfloat16, behind a linear layer bfloat16
#   GRUCell: float32, behind a linear layer bfloat16
#   LSTMCell: float32, behind a linear layer bfloat16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
venv/bin/python - > seen.txt <<'PYTHON'
import torch
from torch import nn

torch.manual_seed(0)
x, linear = torch.randn(4, 3, 64), nn.Linear(64, 64)
for kind in (nn.RNN, nn.GRU, nn.RNNCell, nn.GRUCell, nn.LSTMCell):
    layer, given = kind(64, 64), x[0] if issubclass(kind, nn.RNNCellBase) else x

    def output(of):
        found = layer(of)
        return found[0] if isinstance(found, tuple) else found

    with torch.no_grad():
        exact = output(given)
        with torch.autocast("cpu", torch.bfloat16):
            alone, behind = output(given), output(linear(given))
    assert 1e-4 < (alone.float() - exact).abs().max() < 0.05, kind
    name = lambda tensor: str(tensor.dtype).removeprefix("torch.")
    print(f"{kind.__name__}: {name(alone)}, behind a linear layer {name(behind)}")
PYTHON
diff - seen.txt <<'TEXT'
RNN: bfloat16, behind a linear layer bfloat16
GRU: float32, behind a linear layer bfloat16
RNNCell: bfloat16, behind a linear layer bfloat16
GRUCell: float32, behind a linear layer bfloat16
LSTMCell: float32, behind a linear layer bfloat16
TEXT
cat seen.txt
