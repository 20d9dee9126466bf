#!/usr/bin/env bash
# torch 2.13.0, CPU build (Python 3.11)
#
# Guess: `FlopCounterMode` counts the products of an `nn.LSTM` as it counts those of an `nn.GRU`: 2 * T * B * gates * H *
# (D + H) for a layer.
#
# Seen: the GRU and the RNN have exactly that. An LSTM in single precision on a CPU has 0: it runs as one operation of
# oneDNN, for which there is no formula. The same layer in double precision, or on the device "meta", has all of them.
#
# Output seen:
#   GRU: expected 23040, float32 23040, float64 23040, meta 23040
#   LSTM: expected 30720, float32 0, float64 30720, meta 30720
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

B, T, D, H = 2, 5, 8, 16


def flops(kind, **where):
    layer, x = kind(D, H, batch_first=True, **where), torch.ones(B, T, D, **where)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops()


found = {}
for kind, gates in ((nn.GRU, 3), (nn.LSTM, 4)):
    expected = 2 * B * T * gates * H * (D + H)
    single, double, meta = flops(kind), flops(kind, dtype=torch.float64), flops(kind, device="meta")
    print(f"{kind.__name__}: expected {expected}, float32 {single}, float64 {double}, meta {meta}")
    found[kind] = [count / expected for count in (single, double, meta)]
assert found == {nn.GRU: [1, 1, 1], nn.LSTM: [0, 1, 1]}
PYTHON
