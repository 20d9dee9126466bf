#!/usr/bin/env bash
# sentencepiece 0.2.3, subword-nmt 0.3.8, tokenizers 0.23.3 (Python 3.11)
#
# Guess: BPE-dropout at one rate with the same merges is one distribution, whichever of the three libraries draws it.
#
# Seen: in subword-nmt and tokenizers, as in the paper (Provilkov, Emelianenko and Voita 2020), a merge that was left out
# is drawn again after the next merge. In sentencepiece it is left out for good: each merge has one chance. The word of
# eight letters below needs seven merges; at a rate of 0.1 it stays whole in 73 of 100 cases, or in 48 (0.9 to the power
# of 7), and has 1.6 pieces on average, or 2.5. A rate that was tuned with one library is not that of the other.
#
# Output seen (means of 20,000 draws, which vary in the second digit):
#   rate 0.1: sentencepiece 2.46 pieces, whole 0.48; subword-nmt 1.59, 0.73; tokenizers 1.61, 0.72
#   rate 0.3: sentencepiece 4.43 pieces, whole 0.08; subword-nmt 2.96, 0.30; tokenizers 2.94, 0.30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    sentencepiece==0.2.3 subword-nmt==0.3.8 tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PYTHON'
import io

import sentencepiece
from subword_nmt.apply_bpe import BPE
from tokenizers import Tokenizer, models

WORD, DRAWS = "abcdefgh", 20_000
MERGES = [("a", "b"), ("c", "d"), ("ab", "cd"), ("e", "f"), ("g", "h"), ("ef", "gh"), ("abcd", "efgh")]
vocab = {letter: number for number, letter in enumerate(WORD)}
for one, other in MERGES:
    vocab[one + other] = len(vocab)

# A text from which sentencepiece learns these merges.
counts = {"ab": 300, "cd": 250, "abcd": 100, "ef": 90, "gh": 80, "efgh": 50, "abcdefgh": 40}
written = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([word for word, count in counts.items() for _ in range(count)]), model_writer=written,
    model_type="bpe", vocab_size=16, add_dummy_prefix=False, bos_id=-1, eos_id=-1, minloglevel=2,
)
pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
assert {pieces.id_to_piece(number) for number in range(1, 16)} == set(vocab)

codes = "#version: 0.2\n" + "".join(f"{one} {other}{'</w>' * other.endswith('h')}\n" for one, other in MERGES)
splits = BPE(io.StringIO(codes))


def drawn(cut):
    """Pieces of the word on average, and how often it stays whole."""
    lengths = [len(cut()) for _ in range(DRAWS)]
    return sum(lengths) / DRAWS, lengths.count(1) / DRAWS


for rate in (0.1, 0.3):
    tokenizer = Tokenizer(models.BPE(vocab, MERGES, dropout=rate))
    sampling = {"out_type": str, "enable_sampling": True, "alpha": rate, "nbest_size": -1}
    found = [
        drawn(lambda: pieces.encode(WORD, **sampling)),
        drawn(lambda: splits.segment(WORD, dropout=rate).split()),
        drawn(lambda: tokenizer.encode(WORD).tokens),
    ]
    names = ("sentencepiece {:.2f} pieces, whole {:.2f}", "subword-nmt {:.2f}, {:.2f}", "tokenizers {:.2f}, {:.2f}")
    print(f"rate {rate}: " + "; ".join(name.format(*one) for name, one in zip(names, found)))
    assert abs(found[0][1] - (1 - rate) ** 7) < 0.02, found
    assert abs(found[1][0] - found[2][0]) < 0.1, found
    assert found[0][0] > found[1][0] + 0.6, found
PYTHON
