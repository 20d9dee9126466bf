"""The tokenizer: text to token ids and back, by one wrapped `tokenizers.Tokenizer` for all kinds of tokens."""

import copy
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from seqmodels.batch import BOS, EOS, SPECIAL_TOKENS, UNK
from seqmodels.config import Recorded
from seqmodels.data import vocabularies
from seqmodels.data.hub import download, hub_name
from seqmodels.data.vocabularies import check_tokenizer, checked, library_errors, numbered, several, spelled_bytes
from seqmodels.errors import InputError
from seqmodels.files import check_regular, local, read_small

NEWLINE = len(SPECIAL_TOKENS)
"""Id of the line end in a vocabulary of words."""

LARGEST_BPE = 1 << 22
"""Most tokens of a BPE vocabulary, four times those of the largest in use."""

HALF = "\N{REPLACEMENT CHARACTER}"
"""Stands for an unknown character, and for one of which some bytes are missing."""


class Tokenizer(Recorded):
    """A vocabulary of characters, bytes, subwords or words. Ids 0 to 3 are PAD, BOS, EOS and UNK.

    With bytes and byte-level BPE every string survives `decode(encode(text))`; characters and words that the
    vocabulary lacks become UNK. The names of special tokens inside a text are ordinary text; among words, they are
    unknown.

    In other tokenizers, whose first four tokens are not these, all ids are moved up by four, and the unknown token
    becomes UNK, `start` BOS and `end` EOS. Their truncation and padding are not used.

    Args:
        json: the tokenizer as `tokenizers.Tokenizer.to_str` writes it; `char`, `byte`, `bpe`, `word` and `from_file`
            make one.
        start: of another tokenizer, the token that a network was trained to read first, such as `<|endoftext|>`.
        end: likewise, the token that ends a text. Of several, the first becomes EOS; the others, such as `<|eot_id|>`,
            keep ids of their own, and end a text that is generated.
        size: likewise, the number of ids that count: pieces from there on are unknown, and an unknown one is the token
            of its name with a space behind, if there is one; see `interop.sentencepiece`.

    Raises:
        InputError: it is no such JSON, or has no such token.
    """

    starts: bool
    """Whether BOS stands before a prompt: not where the template of a tokenizer with a `start` puts none there."""

    ends: frozenset[int]
    """Ids that end a text."""

    def __init__(
        self, json: str, start: str | None = None, end: str | list[str] | None = None, size: int | None = None
    ) -> None:
        self.json, self._size = json, size
        # Loader processes are forked after text was tokenized, and tokenize nothing themselves; so no warning about it.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        self._model = check_tokenizer(json)
        with library_errors("be made of its JSON"):
            self._tokenizer = tokenizers.Tokenizer.from_str(json)
        self._tokenizer.encode_special_tokens = True  # "<eos>" in a text is five characters
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        first = tuple(map(self._tokenizer.id_to_token, range(len(SPECIAL_TOKENS))))
        self.shift = 0 if first == SPECIAL_TOKENS else len(SPECIAL_TOKENS)
        self._set_ends(start, end)
        decoder = self._tokenizer.decoder
        self._by_bytes = isinstance(decoder, decoders.ByteLevel)
        # Whether a token adds the same text in every context.
        self._plain = self._by_bytes or (isinstance(decoder, decoders.Fuse) and not self.shift)
        if isinstance(self._tokenizer.model, models.BPE):
            self._tokenizer.model.dropout = None  # a text always has the same tokens
        named = [f"{space}{name}{space}" for name in SPECIAL_TOKENS[:UNK] for space in ("", " ")]
        # Whether names of special tokens in a text would be these: their ids become UNK.
        self._reserved = not self.shift and any(i < UNK for name in named for i in self._encoding(name).ids)
        words = isinstance(self._tokenizer.model, models.WordLevel) and not self.shift
        self._words = words and self._tokenizer.token_to_id("\n") == NEWLINE

    def _set_ends(self, start: str | None, end: str | list[str] | None) -> None:
        ends = [end] if isinstance(end, str) else end or []
        self._ends = {"start": self._id(start)} if start is not None else {}
        self._ends |= {"end": self._id(ends[0])} if ends else {}
        self.ends = frozenset({EOS, *(self.shift + self._id(token) for token in ends[1:])})
        with library_errors("use its template"):
            before = self._tokenizer.encode("", add_special_tokens=True).ids[:1]
        self.starts = "start" not in self._ends or before == [self._ends["start"]]

    def between(self, start: str | None, end: str | list[str] | None) -> "Tokenizer":
        """This tokenizer with other tokens that begin and end a text; it is not built again.

        Raises:
            InputError: it has no such token.
        """
        found = copy.copy(self)
        found.constructor_call = copy.deepcopy(self.constructor_call)
        found.__dict__ = {name: value for name, value in vars(found).items() if name not in ("origins", "roles")}
        found._set_ends(start, end)
        found.constructor_call["init_args"] |= {"start": start, "end": end}
        return found

    def name_of(self, number: int) -> str | None:
        """The name of an id of the wrapped tokenizer; None where there is no such token."""
        return self._tokenizer.id_to_token(number)

    def _id(self, token: str) -> int:
        """The wrapped tokenizer's id of a token that takes the place of one of ours."""
        found = self._tokenizer.token_to_id(token)
        if found is None or not self.shift:
            why = "has none of this name" if found is None else "has special tokens of this package"
            raise InputError(f"the token {token!r:.60} was given as start or end of a text, and the tokenizer {why}")
        return int(found)

    def __repr__(self) -> str:
        return f"<Tokenizer, {self.vocab_size:,} tokens>"

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """A `tokenizer.json` of the `tokenizers` library, such as those of models on the hub.

        Raises:
            InputError: there is no such file, or it is no such tokenizer.
        """
        path = local(path)
        check_regular(path)
        try:
            return cls(read_small(path, vocabularies.TOKENIZER_CHARACTERS))
        except InputError as error:
            expected = f"tokenizer.json of the tokenizers library: {error}; expected the output of its Tokenizer.save"
            raise InputError(f"{str(path)!r} is no {expected}") from error

    @classmethod
    def from_hub(cls, name: str) -> "Tokenizer":
        """The `tokenizer.json` of a model on the Hugging Face hub, `user/name`, `user/name@revision` or `name`.

        Raises:
            InputError: there is no such model, it has no such file, or the hub cannot be reached.
        """
        if (found := hub_name(name, bare=True)) is None:
            raise InputError(f"{name!r} was given; expected the name of a model on the hub, as user/name")
        file = "tokenizer.json"
        return cls.from_file(download(found, {file: vocabularies.TOKENIZER_CHARACTERS}) / file)

    @classmethod
    def char(cls, texts: Iterable[str]) -> "Tokenizer":
        """Characters: every one that occurs in the texts."""
        seen: set[str] = set()
        for text in checked(texts):
            seen.update(text)
        return cls.of(sorted(seen))

    @classmethod
    def of(cls, tokens: Sequence[str], *, words: bool = False) -> "Tokenizer":
        """The given characters, or words between white space, behind the special tokens and in their order.

        Raises:
            InputError: a token occurs twice, or has the name of a special one.
        """
        vocab = numbered(several(tokens))
        if len(vocab) < len(tokens) + len(SPECIAL_TOKENS):
            raise InputError("a token was given twice, or has the name of a special one; expected each once")
        if words:
            return cls(vocabularies.of_words(tokens))
        tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=SPECIAL_TOKENS[UNK]))
        tokenizer.decoder = decoders.Fuse()
        return cls(tokenizer.to_str())

    @classmethod
    def byte(cls) -> "Tokenizer":
        """Bytes of UTF-8."""
        vocab = numbered(sorted(pre_tokenizers.ByteLevel.alphabet()))
        tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return cls(tokenizer.to_str())

    @classmethod
    def bpe(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), trained on the texts.

        Args:
            texts: training texts.
            vocab_size: most tokens, at least 260, the special tokens and all bytes, and at most 2^22.

        Raises:
            InputError: the vocabulary is smaller or larger.
        """
        least = len(SPECIAL_TOKENS) + 256
        if vocab_size > LARGEST_BPE:  # memory for all of it is reserved at once
            raise InputError(f"vocab_size={vocab_size} was given; expected at most {LARGEST_BPE:,} tokens of BPE")
        if vocab_size < least:
            raise InputError(f"vocab_size={vocab_size} was given; byte-level BPE needs at least {least}, for all bytes")
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )  # fmt: skip
        tokenizer.train_from_iterator(several(texts), trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def word(cls, texts: Iterable[str], vocab_size: int | None = None, min_count: int = 1) -> "Tokenizer":
        r"""Words separated by white space, and the end of a line, "\n", as a token of its own.

        The end of each line is predicted once: "\n" takes the role of the <eos> that customarily ends each line of
        WikiText and the Penn Treebank, so counts and perplexities compare with those of the literature. `<unk>` in a
        text, as these have it, is UNK. Decoding joins words by single spaces, without any around "\n": all other white
        space is lost.

        Args:
            texts: training texts.
            vocab_size: most tokens, the most frequent words; None for all words.
            min_count: least number of occurrences of a word.

        Raises:
            InputError: the vocabulary has no room for a word.
        """
        return cls(vocabularies.word_level(texts, vocab_size, min_count))

    @property
    def vocab_size(self) -> int:
        """Number of tokens V, special ones included."""
        return self.shift + self._extent[0]

    @functools.cached_property
    def _extent(self) -> tuple[int, list[int]]:
        return vocabularies.extent(self._tokenizer.get_vocab().values(), self._size)

    def has_tokens_of(self, other: "Tokenizer") -> bool:
        """Whether all ids stand for the same tokens, however the two cut a text."""
        if self.json == other.json:
            return True
        mine, theirs = (
            {name.rstrip(" "): i for name, i in one._tokenizer.get_vocab().items() if i < one.vocab_size - one.shift}
            for one in (self, other)
        )
        return bool(self.shift) and mine == theirs and self.origins == other.origins

    @functools.cached_property
    def _unknown(self) -> int | None:
        """The wrapped tokenizer's id of its unknown token, if it has one."""
        if isinstance(self._tokenizer.model, models.Unigram):
            return self._model.get("unk_id")
        name = self._model.get("unk_token")
        return None if name is None else self._tokenizer.token_to_id(name)

    @property
    def holes(self) -> list[int]:
        """Ids without a token, which no text has."""
        return [i + self.shift for i in self._extent[1]]

    @functools.cached_property
    def origins(self) -> dict[int, int]:
        """The wrapped tokenizer's ids of UNK, BOS and EOS, as far as another tokenizer has them."""
        ids = {UNK: self._unknown, BOS: self._ends.get("start"), EOS: self._ends.get("end")} if self.shift else {}
        return {role: i for role, i in ids.items() if i is not None}

    @functools.cached_property
    def roles(self) -> dict[int, int]:
        """The same the other way round; an id with several roles is EOS rather than BOS, BOS rather than UNK."""
        return {i: role for role, i in self.origins.items()}

    def _outer(self, ids: list[int]) -> list[int]:
        """Ids of the wrapped tokenizer as ours: none that a text has is PAD; BOS and EOS are a `start` and an `end`."""
        unknown, shift = self._unknown, self.shift
        if self._ends:
            return [self.roles.get(i, i + shift) for i in ids]
        if self._reserved:
            return [UNK if i < UNK or i == unknown else i for i in ids]
        if not shift and unknown in (None, UNK):
            return ids
        return [UNK if i == unknown else i + shift for i in ids]

    def _ids(self, encoding: tokenizers.Encoding) -> list[int]:
        """Our ids of a text."""
        ids = encoding.ids
        if self._size is not None and self._unknown is not None:
            named = self._tokenizer.token_to_id
            unknown = self._unknown
            ids = [
                (named(f"{text} ") or unknown) if i == unknown else i if i < self._size else unknown
                for i, text in zip(ids, encoding.tokens, strict=True)
            ]
        return self._outer(ids)

    def _inner(self, ids: Iterable[int]) -> list[int]:
        found = (self._unknown if i == UNK else i - self.shift for i in ids if i >= UNK)
        return [i for i in found if i is not None]

    def _encoding(self, text: str) -> tokenizers.Encoding:
        with library_errors("cut a text into tokens"):
            return self._tokenizer.encode(next(checked([text])), add_special_tokens=False)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._ids(self._encoding(text))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Index of the first character of each token of `encode(text)`, and the index behind its last."""
        return self._encoding(text).offsets

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, on all cores."""
        with library_errors("cut texts into tokens"):
            # The fast one does not tell the texts of tokens.
            cut = self._tokenizer.encode_batch_fast if self._size is None else self._tokenizer.encode_batch
            found = cut(list(several(texts)), add_special_tokens=False)
        return [self._ids(encoding) for encoding in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, without special tokens."""
        if self._plain:
            return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")
        with library_errors("write a text"):
            return str(self._tokenizer.decode(self._inner(ids), skip_special_tokens=True))

    def writer(self, before: Iterable[int] = ()) -> Callable[[int], bytes]:
        """A function that returns the UTF-8 that each token adds to a text which begins with the tokens `before`.

        A word adds a space before it, unless it begins a line. A token that completes no character may add nothing
        until the next one does.
        """
        if self._plain:
            return self.token_bytes.__getitem__
        written, pending = list(before), list[int]()

        def write(token: int) -> bytes:
            nonlocal written, pending
            pending.append(token)
            text = self.decode([*written, *pending])
            if token >= UNK and text.endswith(HALF):
                return b""
            if added := text[len(self.decode(written)) :]:
                written, pending = pending, []
            return added.encode()

        return write

    def unknown(self, text: str) -> str:
        """The distinct characters or words of a text that are not in the vocabulary."""
        (text,) = checked([text])
        if self._words:
            pieces = {word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)} - {SPECIAL_TOKENS[UNK]}
            return " ".join(sorted(word for word in pieces if (self._tokenizer.token_to_id(word) or 0) < UNK))
        encoding = self._encoding(text)
        places = zip(self._ids(encoding), encoding.offsets, strict=True)
        return "".join(sorted({text[first:last] for i, (first, last) in places if i == UNK}))

    @functools.cached_property
    def token_bytes(self) -> list[bytes]:
        """The UTF-8 that each token adds in the middle of a text: empty for special tokens but UNK.

        UNK is U+FFFD, or among words ` <unk>`. Words have the space before them.
        """
        count = self.vocab_size - self.shift
        pieces = list(map({i: name for name, i in self._tokenizer.get_vocab().items()}.get, range(count), [""] * count))
        if self._by_bytes:
            content = [spelled_bytes(piece) for piece in pieces]
        elif self._plain:
            content = [piece.encode() for piece in pieces]
        else:
            with library_errors("write its tokens"):
                once, twice = (self._tokenizer.decode_batch([[i] * n for i in range(count)]) for n in (1, 2))
            content = [two[len(one) :].encode() for one, two in zip(once, twice, strict=True)]
            if self._model.get("byte_fallback"):  # "<0xE4>", which alone is no character
                names = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
                content = [names.get(piece, old) for piece, old in zip(pieces, content, strict=True)]
        if self._words:
            return [b""] * UNK + content[UNK:]
        for i, token in self._tokenizer.get_added_tokens_decoder().items():
            content[i] = b"" if token.special else content[i]
        return [b""] * UNK + [HALF.encode()] + content[len(SPECIAL_TOKENS) - self.shift :]

    @functools.cached_property
    def sizes(self) -> Tensor:
        r"""Numbers of characters and bytes of each token, int64 (2, V).

        A character counts with its first byte. UNK counts as one character of one byte, since its text is lost; bits
        per byte are then too high.

        A word counts with one white space beside it, `<unk>` with its five characters, and "\n" as nothing, being the
        white space behind the word before. So the sums are exact if words stand one space or line end apart and a line
        end closes the text. More white space, such as empty lines, indentation and the spaces around the lines of
        WikiText, is not counted: bits per byte are too high again, and `TextFacts.bits_per_byte` is exact. Text that
        another tokenizer adds or removes, such as a space before the first word, is miscounted in the same way.
        """
        characters = [len(token.translate(None, vocabularies.CONTINUING)) for token in self.token_bytes]
        sizes = torch.tensor([characters, list(map(len, self.token_bytes))], device="cpu")
        sizes[:, NEWLINE if self._words else UNK] = 0 if self._words else 1
        return sizes
