#!/usr/bin/env bash
# torch 2.13.0, CPU build (Python 3.11)
#
# Guess: on the device "meta" there is nothing to compute, so a model is outlined there at almost no cost, and nothing is
# compiled: no part of torch's compiler is needed.
#
# Seen: a tensor without values is free, and so is `nn.Linear`, whose weights are uniform. The first product there, and
# the first normal weights, as of `nn.Embedding`, import `torch._dynamo` with its 93 modules, for about as long as half of
# `import torch` takes. With values on the CPU nothing of it is imported.
#
# Output seen (modules of the compiler that are imported):
#   Linear on meta: none
#   Embedding on meta: many
#   product on meta: many
#   Embedding on cpu: none
#   product on cpu: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$folder"
cat > script.py <<'PYTHON'
import sys

import torch

what, device = sys.argv[1:]
with torch.device(device):
    if what == "product":
        torch.empty(3) * 2.0
    else:
        getattr(torch.nn, what)(3, 3)
count = sum(name.startswith("torch._dynamo") for name in sys.modules)
print(f"{what} on {device}: {'many' if count > 50 else 'none' if count == 0 else count}")
PYTHON
for given in "Linear meta" "Embedding meta" "product meta" "Embedding cpu" "product cpu"; do
    venv/bin/python script.py $given
done | tee found
diff found - <<'TEXT'
Linear on meta: none
Embedding on meta: many
product on meta: many
Embedding on cpu: none
product on cpu: none
TEXT
