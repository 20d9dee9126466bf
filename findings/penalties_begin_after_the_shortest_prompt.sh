#!/usr/bin/env bash
# ctranslate2 4.8.5 (Python 3.11), CPU, a decoder of random weights
#
# Guess: with `include_prompt_in_result=False` a prompt is read faster, and continued as before: greedily, it has the
# same text alone as beside others, and `repetition_penalty` counts the tokens of the prompt, as it does elsewhere.
#
# Seen: (1) Alone, none of the prompt's tokens are counted, only those written. Beside others, those of its tokens are
# counted that lie beyond the length of the shortest prompt, so a text depends on how long its neighbours are.
# (2) If the shortest prompt is one token, the results of the others begin with their own prompts in spite of the
# argument (without the first token), and `max_length` counts them: a long prompt is all there is.
#
# Output seen:
#   without a penalty: 60 of 60 as alone
#   with a penalty, alone: 60 of 60 count only what was written
#   with a penalty, together: 60 of 60 count from the end of the shortest prompt, 45 as alone
#   beside a prompt of one token: 40 of 40 begin with their own prompts
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ctranslate2==4.8.5 numpy
cd "$folder"
OMP_NUM_THREADS=1 venv/bin/python - <<'PYTHON'
import random
from pathlib import Path

import ctranslate2
import numpy as np

TOKENS, FEATURES, PENALTY = 40, 32, 1.5
numbers, draw = np.random.default_rng(0), random.Random(0)


def weights(*sizes):
    return (0.3 * numbers.standard_normal(sizes)).astype(np.float32)


def linear(spec, outputs, inputs):
    spec.weight, spec.bias = weights(outputs, inputs), np.zeros(outputs, np.float32)


def norm(spec):
    spec.gamma, spec.beta = np.ones(FEATURES, np.float32), np.zeros(FEATURES, np.float32)


spec = ctranslate2.specs.TransformerDecoderModelSpec.from_config(2, 2, activation=ctranslate2.specs.Activation.GELU)
decoder = spec.decoder
decoder.scale_embeddings = False
decoder.embeddings.weight = decoder.projection.weight = weights(TOKENS, FEATURES)
decoder.position_encodings.encodings = weights(64, FEATURES)
norm(decoder.layer_norm)
for layer in decoder.layer:
    norm(layer.self_attention.layer_norm)
    norm(layer.ffn.layer_norm)
    linear(layer.self_attention.linear[0], 3 * FEATURES, FEATURES)
    linear(layer.self_attention.linear[1], FEATURES, FEATURES)
    linear(layer.ffn.linear_0, 2 * FEATURES, FEATURES)
    linear(layer.ffn.linear_1, FEATURES, 2 * FEATURES)
spec.register_vocabulary([f"t{number}" for number in range(TOKENS)])
spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "t0", "t1", "t2"
spec.validate()
Path("model").mkdir()
spec.save("model")
generator = ctranslate2.Generator("model", compute_type="float32", intra_threads=1)


def texts(prompts, penalty=1.0):
    """Six tokens for each prompt, without it."""
    settings = {"max_length": 6, "min_length": 6, "include_prompt_in_result": False, "repetition_penalty": penalty}
    return [found.sequences[0] for found in generator.generate_batch(prompts, **settings)]


def counted_from(prompt, place):
    """The same text, step by step: the penalty counts tokens from this place on."""
    tokens = list(prompt)
    for _ in range(6):
        logits = np.array(generator.forward_batch([tokens]))[0, -1]
        seen = sorted({int(token[1:]) for token in tokens[place:]})
        logits[seen] = np.where(logits[seen] < 0, logits[seen] * PENALTY, logits[seen] / PENALTY)
        logits[1] = -np.inf  # the end, for `min_length`
        tokens.append(f"t{logits.argmax()}")
    return tokens[len(prompt) :]


def prompts(*lengths):
    return [[f"t{draw.randrange(3, TOKENS)}" for _ in range(length)] for length in lengths]


plain = alone = together = same = shown = 0
for _ in range(20):
    given = prompts(3, 6, 9)
    plain += sum(one == texts([prompt])[0] for one, prompt in zip(texts(given), given))
    for one, prompt in zip(texts(given, PENALTY), given):
        itself = texts([prompt], PENALTY)[0]
        alone += itself == counted_from(prompt, len(prompt))
        together += one == counted_from(prompt, 3)
        same += one == itself
    given = prompts(1, 5, 9)
    for one, prompt in zip(texts(given)[1:], given[1:]):
        begin = prompt[1:7]
        shown += one[: len(begin)] == begin and texts([prompt])[0] != one
print(f"without a penalty: {plain} of 60 as alone")
print(f"with a penalty, alone: {alone} of 60 count only what was written")
print(f"with a penalty, together: {together} of 60 count from the end of the shortest prompt, {same} as alone")
print(f"beside a prompt of one token: {shown} of 40 begin with their own prompts")
assert (plain, alone, together, shown) == (60, 60, 60, 40)
assert 20 <= same < 55  # the shortest are as alone
PYTHON
