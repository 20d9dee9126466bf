#!/usr/bin/env bash
# tiktoken 0.14.0, tokenizers 0.23.3, transformers 5.24.0 (Python 3.11)
#
# Guess: transformers' `convert_tiktoken_to_fast` takes the pattern and the ranks of a tiktoken encoding, so the
# tokenizer that it writes has the same tokens.
#
# Seen: tiktoken's pattern for GPT-4 (`cl100k_base`) cuts numbers into pieces of up to three digits by a possessive
# repetition, `{1,3}+`. In Oniguruma, whose regular expressions tokenizers uses, a last `+` makes `?+`, `*+` and `++`
# possessive, but after braces it repeats what was repeated: all digits are one piece, within which merges go on. Nothing
# is said. Without that sign, as in `o200k_base`, both read the pattern alike.
#
# Output seen:
#   cl100k_base, pieces of '1234567 in 12345': tiktoken's regex 123 456 7 in 123 45, tokenizers 1234567 in 12345
#   o200k_base, pieces of '1234567 in 12345': tiktoken's regex 123 456 7 in 123 45, tokenizers 123 456 7 in 123 45
#   converted, tokens of '12345': tiktoken 123 45, transformers 12345
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tiktoken==0.14.0 blobfile==3.3.0 tokenizers==0.23.3 transformers==5.24.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import tiktoken
import tiktoken_ext.openai_public as public
import transformers
from tokenizers import Regex, pre_tokenizers
from transformers.integrations.tiktoken import convert_tiktoken_to_fast

transformers.utils.logging.set_verbosity_error()
LETTERS = {bytes([byte]): byte for byte in range(256)}
public.load_tiktoken_bpe = lambda *_, **__: LETTERS  # the patterns are wanted, not the ranks, which are on the net


def encoding(pattern, *merged):
    ranks = LETTERS | {piece.encode(): 256 + number for number, piece in enumerate(merged)}
    return tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|end|>": len(ranks)})


TEXT = "1234567 in 12345"
wanted = "123 456 7 in 123 45".split()
patterns, found = {}, {}
for name in ("cl100k_base", "o200k_base"):
    patterns[name] = getattr(public, name)()["pat_str"]
    one = encoding(patterns[name], "12", "45", "67", "in", "123", "456", "1234", "12345", "1234567", " in")
    split = pre_tokenizers.Split(Regex(patterns[name]), "isolated")
    ours = [one.decode([token]).strip() for token in one.encode(TEXT)]
    found[name] = [piece.strip() for piece, _ in split.pre_tokenize_str(TEXT)]
    ours, theirs = (" ".join(filter(None, pieces)) for pieces in (ours, found[name]))
    print(f"{name}, pieces of {TEXT!r}: tiktoken's regex {ours}, tokenizers {theirs}")
    assert ours.split() == wanted
    assert (theirs.split() == wanted) == (name == "o200k_base")

one = encoding(patterns["cl100k_base"], "12", "45", "123", "1234", "12345")
convert_tiktoken_to_fast(one, "converted")
fast = transformers.PreTrainedTokenizerFast.from_pretrained("converted")
ours, theirs = [one.decode([token]) for token in one.encode("12345")], fast.tokenize("12345")
print(f"converted, tokens of '12345': tiktoken {' '.join(ours)}, transformers {' '.join(theirs)}")
assert ours == ["123", "45"]
assert theirs == ["12345"]
assert fast.convert_tokens_to_ids("12345") == one.encode_single_token("12345")
PYTHON
