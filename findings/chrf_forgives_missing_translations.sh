#!/usr/bin/env bash
# torchmetrics 1.9.0 and sacrebleu 2.6.0 with torch 2.13.0 (Python 3.11)
#
# Guess: `CHRFScore` of torchmetrics, whose page says that it follows sacrebleu, is sacrebleu's chrF of a text, up to
# rounding.
#
# Seen: (1) A translation that shares no character with its references adds none of them to the counts of the text, so
# recall does not know of them. A translator that leaves half of its sentences empty has 1.0; sacrebleu says 0.50. Alone,
# such a sentence has 0 in both. (2) Orders of n-grams that the text does not have count as 0, where sacrebleu leaves
# them out: a right translation of two letters has a third.
#
# Output seen (torchmetrics, sacrebleu):
#   all translated: 1.000, 1.000
#   the second half empty: 1.000, 0.503
#   the second half in another script: 0.823, 0.454
#   two letters, right: 0.333, 1.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 torchmetrics==1.9.0 sacrebleu==2.6.0 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import warnings

from sacrebleu.metrics import CHRF

warnings.filterwarnings("ignore")
from torchmetrics.text import CHRFScore

RIGHT = ["the cat sat on the mat", "we are going home", "it was raining all day", "nobody knew the answer"]


def scores(name, found, wanted=RIGHT):
    one = float(CHRFScore(n_word_order=0)(found, [[reference] for reference in wanted]))
    other = CHRF().corpus_score(found, [wanted]).score / 100
    print(f"{name}: {one:.3f}, {other:.3f}")
    return one, other


one, other = scores("all translated", RIGHT)
assert one > 0.999 and other > 0.999
one, other = scores("the second half empty", RIGHT[:2] + ["", ""])
assert one > 0.999 and other < 0.7
one, other = scores("the second half in another script", RIGHT[:2] + ["весь день шёл дождь", "никто не знал ответа"])
assert one > other + 0.2
one, other = scores("two letters, right", ["no"], ["no"])
assert abs(one - 1 / 3) < 1e-3 and other > 0.999
PYTHON
