#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0 (Python 3.11), CPU, models of random weights
#
# Guess: a T5 whose decoder has more layers than its encoder, as `num_decoder_layers` allows, generates as any other.
#
# Seen: with fewer it does. With more, `generate` raises an error, in T5, MT5, UMT5 and LongT5: the cache that it makes
# has as many layers as the encoder. With `use_cache=False` it generates. BART and Marian, which name both numbers alike,
# generate with either.
#
# Output seen (layers of encoder and decoder: text with the cache, against the text without):
#   T5: 3 and 2 the same, 2 and 3 IndexError: list index out of range
#   MT5: 3 and 2 the same, 2 and 3 IndexError: list index out of range
#   UMT5: 3 and 2 the same, 2 and 3 IndexError: list index out of range
#   LongT5: 3 and 2 the same, 2 and 3 IndexError: list index out of range
#   Bart: 3 and 2 the same, 2 and 3 the same
#   Marian: 3 and 2 the same, 2 and 3 the same
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python - <<'PYTHON'
import torch
import transformers

transformers.utils.logging.set_verbosity_error()
BOTH = {"vocab_size": 30, "d_model": 16, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
SIZES = {"attention_heads": 2, "ffn_dim": 32}
HALVES = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in SIZES.items()}


def settings(name, encoder, decoder):
    if name in ("Bart", "Marian"):
        return BOTH | HALVES | {"encoder_layers": encoder, "decoder_layers": decoder, "forced_eos_token_id": None}
    return BOTH | {"d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": encoder, "num_decoder_layers": decoder}


def compared(name, *layers):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings(name, *layers))
    kind = "MTModel" if name == "Marian" else "ForConditionalGeneration"
    model = getattr(transformers, name + kind)(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    source = torch.randint(2, 30, (2, 6))
    more = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    wanted = model.generate(source, use_cache=False, **more)
    try:
        found = model.generate(source, **more)
    except IndexError as error:
        return f"IndexError: {error}"
    return "the same" if torch.equal(found, wanted) else "another"


for name in ("T5", "MT5", "UMT5", "LongT5", "Bart", "Marian"):
    shallow, deep = compared(name, 3, 2), compared(name, 2, 3)
    print(f"{name}: 3 and 2 {shallow}, 2 and 3 {deep}")
    assert shallow == "the same"
    assert deep == ("IndexError: list index out of range" if name.endswith("T5") else "the same")
PYTHON
