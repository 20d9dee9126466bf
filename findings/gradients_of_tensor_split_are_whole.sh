#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU
#
# Guess: `x.tensor_split(n, 1)` and `x.split(1, 1)` give the same views, so their gradients cost the same.
#
# Seen: the gradient of `split` (and of `unbind`) writes each piece into its place once. That of `tensor_split` makes a
# tensor of zeros as large as `x` for each piece and adds them all up: its cost grows with the square of the number of
# pieces. With 512 steps of a sequence it takes more than twenty times as long, with 2,048 some hundreds of times.
#
# Output seen (the ratio depends on the machine):
#   values and gradients equal; the gradient of tensor_split takes more than twenty times as long
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python - <<'PYTHON'
import time

import torch


def gradient(cut):
    """Processor time of the backward pass through the pieces of a sequence, and the gradient."""
    torch.manual_seed(0)
    x = torch.randn(8, 512, 64, requires_grad=True)
    pieces = cut(x)
    loss = sum(piece.square().sum() for piece in pieces)
    start = time.process_time()
    loss.backward()
    return time.process_time() - start, x.grad


steps, evenly = gradient(lambda x: x.split(1, 1)), gradient(lambda x: x.tensor_split(512, 1))
assert torch.equal(steps[1], evenly[1])
ratio = evenly[0] / min(steps[0], gradient(lambda x: x.split(1, 1))[0])
assert ratio > 20, ratio
print("values and gradients equal; the gradient of tensor_split takes more than twenty times as long")
PYTHON
