#!/usr/bin/env bash
# ctranslate2 4.8.5, torch 2.13.0 (Python 3.11), CPU with two cores or more, Linux x86-64
#
# Guess: `intra_threads` is a setting of one translator or generator of CTranslate2, whose wheel brings an OpenMP
# runtime of its own (`ctranslate2.libs/libgomp-*.so`). Torch goes on with as many threads as it had.
#
# Seen: (1) If torch was imported first, making a translator sets the threads of torch to its `intra_threads`: all that
# torch computes afterwards has one thread. If ctranslate2 was imported first, nothing changes. torch makes the symbols
# of its own libgomp visible to the libraries that are loaded after it. (2) So the threads of both are counted together,
# and libgomp lets threads sleep at once where there are more than cores. A generator with `intra_threads=2` then writes
# more slowly than one with a thread less, and a network of torch that takes turns with it is slowed down likewise. How
# much depends on what it costs to wake a thread.
#
# Output seen (two virtual cores of an Intel Xeon):
#   torch first: 2 threads of torch before, 1 after a translator with intra_threads=1, 3 with intra_threads=3
#   ctranslate2 first: 2 threads of torch before, 2 after a translator with intra_threads=1, 2 with intra_threads=3
#   torch first: 4,737 tokens/s with intra_threads=1, 274 with 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install torch==2.13.0
install ctranslate2==4.8.5 numpy
cd "$folder"
cat > threads.py <<'PYTHON'
import sys
import time
from importlib import import_module
from pathlib import Path

first, second = (import_module(name) for name in sys.argv[1:])
import ctranslate2
import numpy as np
import torch

TOKENS, FEATURES, LAYERS = 68, 128, 4
numbers = np.random.default_rng(0)


def weights(*sizes):
    return (0.1 * numbers.standard_normal(sizes)).astype(np.float32)


def linear(spec, outputs, inputs):
    spec.weight, spec.bias = weights(outputs, inputs), np.zeros(outputs, np.float32)


def norm(spec):
    spec.gamma, spec.beta = np.ones(FEATURES, np.float32), np.zeros(FEATURES, np.float32)


spec = ctranslate2.specs.TransformerDecoderModelSpec.from_config(LAYERS, 4, activation=ctranslate2.specs.Activation.GELU)
decoder = spec.decoder
decoder.scale_embeddings = False
decoder.embeddings.weight = decoder.projection.weight = weights(TOKENS, FEATURES)
decoder.position_encodings.encodings = weights(256, FEATURES)
norm(decoder.layer_norm)
for layer in decoder.layer:
    norm(layer.self_attention.layer_norm)
    norm(layer.ffn.layer_norm)
    linear(layer.self_attention.linear[0], 3 * FEATURES, FEATURES)
    linear(layer.self_attention.linear[1], FEATURES, FEATURES)
    linear(layer.ffn.linear_0, 4 * FEATURES, FEATURES)
    linear(layer.ffn.linear_1, FEATURES, 4 * FEATURES)
spec.register_vocabulary([f"t{number}" for number in range(TOKENS)])
spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "t0", "t1", "t2"
spec.validate()
folder = Path(f"model-{sys.argv[1]}")
folder.mkdir()
spec.save(str(folder))


def generator(threads):
    torch.set_num_threads(2)
    return ctranslate2.Generator(str(folder), compute_type="float32", intra_threads=threads)


def rate(made):
    """Tokens per second, the best of four texts."""
    torch.set_num_threads(2)
    torch.randn(512, 512) @ torch.randn(512, 512)  # the threads of torch exist
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        made.generate_batch([["t0"]], max_length=200, min_length=200)
        seconds.append(time.perf_counter() - began)
    return 200 / min(seconds)


torch.set_num_threads(2)
found = [torch.get_num_threads()]
for threads in (1, 3):
    made = generator(threads)
    found.append(torch.get_num_threads())
before, one, three = found
print(
    f"{sys.argv[1]} first: {before} threads of torch before, {one} after a translator with intra_threads=1, "
    f"{three} with intra_threads=3"
)
assert found == ([2, 1, 3] if sys.argv[1] == "torch" else [2, 2, 2])
if sys.argv[1] == "torch":
    alone, shared = rate(generator(1)), rate(generator(2))
    print(f"torch first: {alone:,.0f} tokens/s with intra_threads=1, {shared:,.0f} with 2")
    assert shared < 0.7 * alone
PYTHON
venv/bin/python threads.py torch ctranslate2
venv/bin/python threads.py ctranslate2 torch
