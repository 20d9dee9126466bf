#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU, one thread
#
# Guess: `x.tensor_split(n, 1)` and `x.split(1, 1)` give the same views, so their gradients cost the same.
#
# Seen: the gradient of `split` (and of `unbind`) writes each piece into its place once, and four times as many pieces
# take four times as long. That of `tensor_split` makes a tensor of zeros as large as `x` for each piece and adds them
# all up: its cost grows with the square of the number of pieces. With 256 steps of a sequence it takes three times as
# long as that of `split`, with 4,096 thirty times.
#
# Output seen (numbers depend on the machine; the first ratio was 7, the second 30):
#   gradients equal; with 1,024 pieces tensor_split takes more than 3 times as long, with 4,096 more than 10 times
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python - <<'PYTHON'
import time

import torch


def gradient(n, cut):
    """Processor time of the backward pass through the pieces of a sequence, and the gradient."""
    torch.manual_seed(0)
    x = torch.randn(8, n, 64, requires_grad=True)
    loss = sum(piece.square().sum() for piece in cut(x))
    start = time.process_time()
    loss.backward()
    return time.process_time() - start, x.grad


def ratio(n):
    steps, evenly = gradient(n, lambda x: x.split(1, 1)), gradient(n, lambda x: x.tensor_split(n, 1))
    assert torch.equal(steps[1], evenly[1])
    return evenly[0] / steps[0]


ratio(256)  # the first backward pass starts threads
few, many = ratio(1024), ratio(4096)
assert few > 3, few
assert many > 10, many
assert many > 2 * few, (few, many)
print("gradients equal; with 1,024 pieces tensor_split takes more than 3 times as long, with 4,096 more than 10 times")
PYTHON
