"""Tokenizers of public families, and how rows of their tables are rows of ours.

Our ids 0 to 3 are PAD, BOS, EOS and UNK, so theirs are moved up by four. The rows of BOS, EOS and UNK are those of
their tokens for it; GPT-2's `<|endoftext|>` is both BOS and EOS. To have no probability twice, the softmax layer never
gives the ids that they had, nor PAD, nor BOS or UNK where they have no token of their own, nor ids without a token.
Rows beyond the tokenizer, which round a vocabulary up, are left out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors
from torch import Tensor

from seqmodels.batch import BOS, EOS, PAD, UNK
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS, library_errors
from seqmodels.errors import InputError
from seqmodels.files import parse_json, read_json, read_small
from seqmodels.interop.families.rwkv_vocabulary import FILES, greedy_tokenizer, read_pieces
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.shards import Shards

TOKENIZER, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
TOKENIZER_CONFIG, GENERATION = "tokenizer_config.json", "generation_config.json"


def read_tokenizer(folder: Path, settings: Settings) -> Tokenizer:
    """The tokenizer of a folder, which knows the tokens that begin and end a text.

    Raises:
        InputError: there is none, or it is damaged.
    """
    own = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    if (folder / TOKENIZER).is_file():
        text = read_small(folder / TOKENIZER, TOKENIZER_CHARACTERS)
    elif (folder / VOCAB).is_file() and (folder / MERGES).is_file():
        text = _byte_level(folder, settings, own)
    elif files := sorted(folder.glob(FILES)):
        text = greedy_tokenizer(read_pieces(files[0]))
    else:
        raise InputError(f"{str(folder)!r} has no {TOKENIZER}, and not {VOCAB} with {MERGES}; expected its tokenizer")
    found = Tokenizer(text)
    if not found.shift:  # of a model of this package
        return found
    starts, ends = (_named(found.name_of, folder, settings, own, role) for role in ("bos", "eos"))
    start = next(iter(starts or ends), None)
    return found.between(start, ends if len(ends) > 1 else next(iter(ends), None))


def _named(
    name_of: Callable[[int], str | None], folder: Path, settings: Settings, own: dict[str, Any], role: str
) -> list[str]:
    """The tokens that begin or end a text: those of generation, of the model, or of the tokenizer."""
    field = f"{role}_token_id"
    generation = read_json(folder / GENERATION) if (folder / GENERATION).is_file() else {}
    for given in (generation.get(field), settings.fields.get(field)):
        numbers = [number for number in (given if isinstance(given, list) else [given]) if type(number) is int]
        if numbers:
            names = {number: name_of(number) for number in numbers}
            if missing := [number for number, name in names.items() if name is None]:
                raise InputError(f"{field} is {missing[0]} in {settings.where}, and the tokenizer has no such token")
            return [str(name) for name in names.values()]
    token = own.get(f"{role}_token")
    token = token.get("content") if isinstance(token, dict) else token
    return [token] if isinstance(token, str) else []


def _byte_level(folder: Path, settings: Settings, own: dict[str, Any]) -> str:
    """The JSON of a byte-level BPE, of its older two files."""
    vocab = parse_json(read_small(folder / VOCAB, TOKENIZER_CHARACTERS), repr(str(folder / VOCAB)))
    lines = read_small(folder / MERGES, TOKENIZER_CHARACTERS).split("\n")
    parts = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    merges = [(part[0], part[-1]) for part in parts]
    if not isinstance(vocab, dict) or any(len(part) != 2 for part in parts):
        raise InputError(f"{str(folder)!r} has no {VOCAB} of tokens and ids, or no {MERGES} of two tokens a line")
    with library_errors(f"be made of {VOCAB} and {MERGES}"):
        made = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        text = made.to_str()
        if own.get("add_bos_token") is True and (first := _named(made.id_to_token, folder, settings, own, "bos")):
            special = [(first[0], vocab[first[0]])]
            made.post_processor = processors.TemplateProcessing(f"{first[0]} $A", None, special)
            text = made.to_str()
    return text


class Vocabulary:
    """Rows of tables by the ids of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.count = tokenizer, tokenizer.vocab_size - tokenizer.shift

    def read(self, shards: Shards, name: str) -> Tensor:
        """A table or a bias, of one row for each of our ids.

        Raises:
            InputError: it has too few rows, or more than a padded vocabulary has.
        """
        shape = shards.shape(name)
        rows, *others = shape[1:] if shape[0] == 1 < len(shape) else shape  # a bias of one row
        if not self.count <= rows <= 2 * self.count:
            raise InputError(
                f"the tokenizer has {self.count:,} tokens, and {name!r} {rows:,} rows; expected the tokenizer of this "
                "model, and as many rows or a few more"
            )
        shift = self._tokenizer.shift
        found = shards.read_rows(name, [self._tokenizer.vocab_size, *others], shift)
        for role, i in self._tokenizer.origins.items():
            found[role] = found[shift + i]
        return found

    def write(self, ours: Tensor) -> Tensor:
        """The reverse, a row for each token of the tokenizer; where it has no end of its own, the rows as they are."""
        if EOS not in self._tokenizer.origins:
            return ours
        found = ours[self._tokenizer.shift :].clone()
        for i, role in self._tokenizer.roles.items():
            found[i] = ours[role]
        return found

    def never(self) -> Tensor:
        """Biases of the softmax layer, (V,): minus infinity for ids that it never gives, 0 for others."""
        tokenizer, bias = self._tokenizer, torch.zeros(self._tokenizer.vocab_size)
        if tokenizer.shift:
            given = set(tokenizer.roles.values())
            bias[[role for role in (PAD, BOS, EOS, UNK) if role not in given]] = -torch.inf
            bias[[tokenizer.shift + i for i in tokenizer.roles]] = -torch.inf
            bias[tokenizer.holes] = -torch.inf
        return bias
