#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU
#
# Guess: the gradient of `ctc_loss` with respect to its log-probabilities is the derivative of the loss it returns.
#
# Seen: it is that derivative plus the probabilities themselves. A log-softmax directly before removes what was added, so
# the gradient of logits is right. With anything between the two (probabilities divided by those of the labels, as some
# speech recognisers do, a temperature, a mean of two models) the gradient of the logits is not that of the loss, without
# a word. If a log-softmax is applied once more, it is.
#
# Output seen (largest differences from the derivative by finite differences):
#   log-probabilities: 0.7055; less the probabilities: 0.0000
#   logits, log-softmax: 0.0000
#   logits, log-softmax, then less half the prior: 0.6354; normalized again: 0.0000
#   logits, log-softmax, then divided by two: 0.1879; normalized again: 0.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import ctc_loss

torch.manual_seed(0)
STEPS, LABELS = 6, 4
logits = torch.randn(STEPS, 1, LABELS, dtype=torch.float64)
prior = torch.tensor([0.6, 0.2, 0.15, 0.05], dtype=torch.float64).log()


def loss(log_probabilities):
    return ctc_loss(log_probabilities, torch.tensor([[1, 2]]), torch.tensor([STEPS]), torch.tensor([2]), reduction="sum")


def gradients(function, at):
    """By torch, and by differences of the loss."""
    at = at.detach().requires_grad_()
    (found,) = torch.autograd.grad(function(at), at)
    steps = torch.eye(at.numel(), dtype=at.dtype).view(-1, *at.shape) * 1e-5
    with torch.no_grad():
        measured = torch.stack([(function(at + step) - function(at - step)) / 2e-5 for step in steps])
    return found, measured.view_as(at)


def differ(function, at):
    found, measured = gradients(function, at)
    return float((found - measured).abs().max())


start = logits.log_softmax(-1)
found, measured = gradients(loss, start)
without = float((found - start.exp() - measured).abs().max())
print(f"log-probabilities: {differ(loss, start):.4f}; less the probabilities: {without:.4f}")
assert differ(loss, start) > 0.1
assert without < 1e-6
plain = differ(lambda x: loss(x.log_softmax(-1)), logits)
print(f"logits, log-softmax: {plain:.4f}")
assert plain < 1e-6
for name, change in (("less half the prior", lambda x: x - prior / 2), ("divided by two", lambda x: x / 2)):
    between = differ(lambda x: loss(change(x.log_softmax(-1))), logits)
    again = differ(lambda x: loss(change(x.log_softmax(-1)).log_softmax(-1)), logits)
    print(f"logits, log-softmax, then {name}: {between:.4f}; normalized again: {again:.4f}")
    assert between > 0.05
    assert again < 1e-6
PYTHON
