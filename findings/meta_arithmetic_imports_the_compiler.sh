#!/usr/bin/env bash
# torch 2.13.0, CPU build (Python 3.11)
#
# Guess: on the device "meta" there is nothing to compute, so a model is outlined there at almost no cost, and nothing is
# compiled: no part of torch's compiler is needed.
#
# Seen: a tensor without values is free. The first product on it, and the first `nn.init.normal_`, import all of
# `torch._dynamo`, some 500 modules, which took half as long as `import torch` itself. `nn.Linear` draws its weights, so
# making one there does it, too; `torch.empty` and `nn.Parameter` do not. With values on the CPU nothing is imported.
#
# Output seen (modules of the compiler that are imported):
#   empty on meta: none
#   product on meta: many
#   Linear on meta: many
#   product on cpu: none
#   Linear on cpu: none
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
    made = {"empty": lambda: torch.empty(3), "product": lambda: torch.empty(3) * 2.0, "Linear": lambda: torch.nn.Linear(3, 3)}
    made[what]()
count = sum(name.startswith("torch._dynamo") for name in sys.modules)
print(f"{what} on {device}: {'many' if count > 50 else 'none' if count == 0 else count}")
PYTHON
for given in "empty meta" "product meta" "Linear meta" "product cpu" "Linear cpu"; do
    venv/bin/python script.py $given
done | tee found
diff found - <<'TEXT'
empty on meta: none
product on meta: many
Linear on meta: many
product on cpu: none
Linear on cpu: none
TEXT
