#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0 (Python 3.11), CPU, no kernels installed
#
# Guess: a text in two pieces, the second with the cache that the first returned, has the logits of the text read at
# once, whatever the length of the second piece.
#
# Seen: it holds for Mamba-2, and for Mamba and Falcon-Mamba if the second piece is one token. If it has several, these
# two return other logits, without a word: random models of 32 features differ by 2e-3 and 1e-1.
#
# Output seen (differences from the text read at once):
#   MambaForCausalLM: token by token 0.0000, a piece of four 0.0020
#   FalconMambaForCausalLM: token by token 0.0000, a piece of four 0.1141
#   Mamba2ForCausalLM: token by token 0.0000, a piece of four 0.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
import transformers

transformers.utils.logging.set_verbosity_error()
torch.manual_seed(0)
ids = torch.randint(0, 50, (2, 12))


def difference(model, sizes):
    """Between logits over pieces of these sizes, the cache handed on, and those of the whole."""
    pieces, more = [], {}
    for piece in ids.split(sizes, 1):
        found = model(piece, use_cache=True, **more)
        pieces.append(found.logits)
        more = {"cache": found.cache}
    return float((torch.cat(pieces, 1) - model(ids).logits).abs().max())


found = {}
for name, settings in (("Mamba", {}), ("FalconMamba", {}), ("Mamba2", {"num_heads": 4, "head_dim": 16, "n_groups": 1})):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}
    config = getattr(transformers, f"{name}Config")(**sizes, **settings)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        steps, pieces = difference(model, [8, 1, 1, 1, 1]), difference(model, [8, 4])
    print(f"{type(model).__name__}: token by token {steps:.4f}, a piece of four {pieces:.4f}")
    found[name] = steps < 1e-4, pieces < 1e-4
assert found == {"Mamba": (True, False), "FalconMamba": (True, False), "Mamba2": (True, True)}
PYTHON
