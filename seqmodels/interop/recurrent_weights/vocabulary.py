"""The vocabulary of another program, and where its rows stand in ours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.batch import BOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of another program in the order of their ids, and which of them are special.

    Ours begins with PAD, BOS, EOS and UNK, and goes on with the others in their order. One token can be two of them, as
    where the end of a text is the beginning of the next.

    Attributes:
        tokens: text of each id; None where an id has no text.
        pad: text of the token at padding.
        bos: that of the first token that is read, or of a decoder.
        eos: that of the end.
        unk: that of unknown tokens.
        words: tokens are words or other symbols between white space, such as phonemes; otherwise single characters.

    Raises:
        InputError: a token occurs twice, or a special one is not there.
    """

    tokens: Sequence[str | None]
    pad: str | None = None
    bos: str | None = None
    eos: str | None = None
    unk: str | None = None
    words: bool = False

    def __post_init__(self) -> None:
        known = [token for token in self.tokens if token is not None]
        if isinstance(self.tokens, str) or not all(isinstance(token, str) for token in known):
            raise InputError(f"tokens={self.tokens!r:.60} were given; expected a list with the text of each")
        if twice := sorted(
            {token for token in known if known.count(token) > 1} if len(set(known)) < len(known) else []
        ):
            raise InputError(f"the token {twice[0]!r:.60} was given twice; expected each once")
        for name in ("pad", "bos", "eos", "unk"):
            if (special := getattr(self, name)) is not None and special not in known:
                raise InputError(f"{name}={special!r:.60} was given, which is none of the tokens; expected one of them")

    @property
    def ids(self) -> list[int | None]:
        """Its id for each of our tokens; None where it has no such token."""
        place = {token: number for number, token in enumerate(self.tokens) if token is not None}
        special = [None if name is None else place[name] for name in (self.pad, self.bos, self.eos, self.unk)]
        return special + [number for token, number in place.items() if number not in special]

    @property
    def scored_ids(self) -> list[int | None]:
        """The same, each id once, so that no probability counts twice: of two special tokens, as EOS before BOS."""
        ids = self.ids
        for place in (BOS, UNK, PAD):
            if ids[place] in [one for other, one in enumerate(ids) if other != place]:
                ids[place] = None
        return ids

    def tokenizer(self) -> Tokenizer:
        """A tokenizer of these tokens."""
        texts = [self.tokens[number] for number in self.ids[len(SPECIAL_TOKENS) :] if number is not None]
        return Tokenizer.of([text for text in texts if text is not None], words=self.words)

    def rows(self, given: Tensor) -> Tensor:
        """Rows of a matrix of the other program, (its ids, D), for our tokens; zeros for those that it does not have.

        Raises:
            InputError: there are not as many rows as tokens.
        """
        return self._placed(given, self.ids, 0.0)

    def biases(self, given: Tensor) -> Tensor:
        """The bias of a softmax layer, (its ids,), for our tokens: minus infinity for those that it does not have."""
        return self._placed(given, self.scored_ids, -math.inf)

    def _placed(self, given: Tensor, ids: list[int | None], absent: float) -> Tensor:
        if len(given) != len(self.tokens):
            raise InputError(f"{len(self.tokens):,} tokens were given, and the weights are of {len(given):,}")
        made = torch.full((len(ids), *given.shape[1:]), absent, dtype=given.dtype)
        for own, theirs in enumerate(ids):
            if theirs is not None:
                made[own] = given[theirs]
        return made
