#!/usr/bin/env bash
# tokenizers 0.23.3 (Python 3.11)
#
# Guess: training a tokenizer is a function of the text, so that training it again gives the same file.
#
# Seen: true of BPE. A WordPiece tokenizer trained four times on one text, in one process and on one thread, is four
# different ones: other pieces, and other ids for the same pieces. A Unigram tokenizer has the same pieces and scores (to
# the last bit but one), in another order where scores are equal, so with other ids. A model and the tokenizer trained
# "again" from the same text do not fit one another; only the saved file does.
#
# Output seen (the counts of different vocabularies vary from 2 to 8 for WordPiece and Unigram):
#   BPE: 1 vocabulary in 8 trainings
#   WordPiece: 8 vocabularies in 8 trainings
#   Unigram: 6 vocabularies in 8 trainings
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
RAYON_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

words = (
    "the quick brown fox jumps over the lazy dog while seventeen mathematicians argue about recurrent networks and "
    "attention"
).split()
draw = random.Random(0)
text = [" ".join(draw.choice(words) for _ in range(12)) for _ in range(300)]
settings = {"vocab_size": 120, "show_progress": False, "special_tokens": ["<unk>"]}
kinds = {
    "BPE": (models.BPE, {}, trainers.BpeTrainer, {}),
    "WordPiece": (models.WordPiece, {"unk_token": "<unk>"}, trainers.WordPieceTrainer, {}),
    "Unigram": (models.Unigram, {}, trainers.UnigramTrainer, {"unk_token": "<unk>"}),
}
different = {}
for name, (model, options, trainer, more) in kinds.items():
    vocabularies = set()
    for _ in range(8):
        tokenizer = Tokenizer(model(**options))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(text, trainer(**settings, **more))
        vocabularies.add(tuple(sorted(tokenizer.get_vocab().items())))
    different[name] = len(vocabularies)
    print(f"{name}: {len(vocabularies)} vocabular{'y' if len(vocabularies) == 1 else 'ies'} in 8 trainings")
assert different["BPE"] == 1
assert different["WordPiece"] > 1
assert different["Unigram"] > 1
PYTHON
