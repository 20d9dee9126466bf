#!/usr/bin/env bash
# torch 2.13.0 (Python 3.11), CPU, Linux x86-64
#
# Guess: a program that raises no warning with all of them shown (`-W always`) runs as well with warnings as errors
# (`-W error`), as many run their tests.
#
# Seen: torch.compile looks at the `.grad` of the tensors that it is given. For one that is no leaf, such as the output
# of the layer before a compiled one, that is worth a UserWarning, which it keeps to itself: none is shown or recorded,
# with all filters open. Where warnings are errors, the same call raises InternalTorchDynamoError in place of a result.
# Of a leaf, or of a tensor without gradients, there is no warning and no error.
#
# Output seen:
#   all shown: a leaf [], an intermediate tensor [], without gradients []
#   as errors: a leaf fine, an intermediate tensor InternalTorchDynamoError: UserWarning, without gradients fine
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.13.0 numpy
cd "$folder"
cat > compiled.py <<'PYTHON'
import warnings

import torch

leaf = torch.ones(3, requires_grad=True)
given = {"a leaf": leaf, "an intermediate tensor": 2 * leaf, "without gradients": torch.ones(3)}


def outcome(tensor, way):
    torch.compiler.reset()
    function = torch.compile(lambda x: x.sin(), backend="eager")
    with warnings.catch_warnings(record=way == "always") as seen:
        warnings.simplefilter(way)
        try:
            function(tensor)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).split(':')[0]}"
    return str([one.category.__name__ for one in seen]) if way == "always" else "fine"


for way, name in (("always", "all shown"), ("error", "as errors")):
    print(f"{name}:", ", ".join(f"{kind} {outcome(tensor, way)}" for kind, tensor in given.items()))
PYTHON
output=$("$folder/venv/bin/python" compiled.py)
echo "$output"
expected="all shown: a leaf [], an intermediate tensor [], without gradients []
as errors: a leaf fine, an intermediate tensor InternalTorchDynamoError: UserWarning, without gradients fine"
[ "$output" = "$expected" ] || { echo "it has changed"; exit 1; }
