"""Text to ids and back, for vocabularies of characters, bytes and subwords."""

import codecs
import functools
import json
from collections.abc import Callable

import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.batch import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.config import construct
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError

SAMPLE = "Ein Zug fährt: the train that trains the trainers 在火车上 🚂🚃 — the theme of <eos> the end.\n" * 3
KINDS = ["char", "byte", "bpe"]
ODD = [*SPECIAL_TOKENS, "the ", "ä", "火", "👩‍👩‍👧", " ", "\n", "\r\n", "\0"]
ANY = st.text() | st.lists(st.sampled_from(ODD)).map("".join)
"""Any text, and texts made of what may be mistaken."""


@functools.cache
def tokenizer(kind: str) -> Tokenizer:
    return {
        "char": lambda: Tokenizer.char([SAMPLE]),
        "byte": Tokenizer.byte,
        "bpe": lambda: Tokenizer.bpe([SAMPLE], 300),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first(kind: str) -> None:
    inner = tokenizers.Tokenizer.from_str(tokenizer(kind).json)
    assert [inner.token_to_id(token) for token in SPECIAL_TOKENS] == [PAD, BOS, EOS, UNK] == [0, 1, 2, 3]


def test_vocabularies() -> None:
    assert tokenizer("char").vocab_size == 4 + len(set(SAMPLE))
    assert tokenizer("byte").vocab_size == 4 + 256
    assert tokenizer("bpe").vocab_size == 300
    assert sorted(tokenizer("byte").token_bytes[4:]) == [bytes([b]) for b in range(256)]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=ANY)
def test_round_trip_of_any_text(kind: str, text: str) -> None:
    ids = tokenizer(kind).encode(text)
    assert tokenizer(kind).decode(ids) == text
    assert all(i >= len(SPECIAL_TOKENS) for i in ids)


@given(text=ANY)
def test_bytes_are_one_token_each(text: str) -> None:
    assert len(tokenizer("byte").encode(text)) == len(text.encode())


@given(text=ANY, other=ANY)
def test_characters_survive_in_their_own_vocabulary(text: str, other: str) -> None:
    chars = Tokenizer.char([text[:3], text[3:]])
    assert chars.vocab_size == 4 + len(set(text))
    ids = chars.encode(text)
    assert len(ids) == len(text)
    assert chars.decode(ids) == text
    known = set(text)
    assert chars.unknown(other) == "".join(sorted(set(other) - known))
    assert chars.encode(other).count(UNK) == sum(c not in known for c in other)
    assert chars.decode(chars.encode(other)) == "".join(c if c in known else "\N{REPLACEMENT CHARACTER}" for c in other)


def test_characters_in_any_order_make_the_same_vocabulary() -> None:
    assert Tokenizer.char(["abc", "cd"]).json == Tokenizer.char(["d", "cab"]).json


def test_subwords_are_learned() -> None:
    bpe = tokenizer("bpe")
    assert len(bpe.encode(SAMPLE)) < 0.7 * len(SAMPLE.encode())
    assert len(bpe.encode(" train")) < len(" train")
    assert Tokenizer.bpe([SAMPLE], 260).encode(" train") == tokenizer("byte").encode(" train")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_names_of_special_tokens_are_ordinary_text(kind: str, name: str) -> None:
    made = {
        "char": lambda: Tokenizer.char([name]),
        "byte": Tokenizer.byte,
        "bpe": lambda: Tokenizer.bpe([f"{name} " * 50], 300),
    }[kind]()
    for ids in (made.encode(name), made.encode_batch([name])[0]):
        assert len(ids) > 1
        assert min(ids) >= len(SPECIAL_TOKENS)
        assert made.decode(ids) == name


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_add_nothing_to_a_text(kind: str) -> None:
    ids = tokenizer(kind).encode("the")
    assert tokenizer(kind).decode([BOS, *ids, EOS, PAD, PAD]) == "the"


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(ANY, max_size=5))
def test_a_batch_is_encoded_as_each_text_alone(kind: str, texts: list[str]) -> None:
    assert tokenizer(kind).encode_batch(texts) == [tokenizer(kind).encode(text) for text in texts]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=ANY)
def test_sizes_sum_to_characters_and_bytes(kind: str, text: str) -> None:
    sizes = tokenizer(kind).sizes
    assert sizes.dtype == torch.int64
    assert sizes.shape == (2, tokenizer(kind).vocab_size)
    assert sizes[:, tokenizer(kind).encode(text)].sum(1).tolist() == [len(text), len(text.encode())]
    assert not sizes[:, [PAD, BOS, EOS]].any()


@given(text=ANY, other=ANY)
def test_sizes_of_characters_count_the_unknown_as_one_byte(text: str, other: str) -> None:
    chars = Tokenizer.char([text])
    known = sum(len(c.encode()) if c in set(text) else 1 for c in other)
    assert chars.sizes[:, chars.encode(other)].sum(1).tolist() == [len(other), known]
    assert not chars.sizes[:, [PAD, BOS, EOS]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_unknown(kind: str) -> None:
    wanted = "zß" if kind == "char" else ""
    assert tokenizer(kind).unknown("zug ßz\n") == wanted


@pytest.mark.parametrize("kind", KINDS)
@given(text=ANY)
def test_json_is_the_whole_tokenizer(kind: str, text: str) -> None:
    first = tokenizer(kind)
    for again in (Tokenizer(first.json), construct(json.loads(json.dumps(first.constructor_call)), Tokenizer)):
        assert again.json == first.json
        assert again.encode(text) == first.encode(text)
        assert again.decode(again.encode(text)) == first.decode(first.encode(text))
        assert again.vocab_size == first.vocab_size
        assert torch.equal(again.sizes, first.sizes)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=ANY)
def test_text_comes_character_by_character(kind: str, text: str) -> None:
    """What a streaming reader does: a character shows as soon as its last byte is there, and no sooner."""
    decoder = codecs.getincrementaldecoder("utf-8")()  # strict: a broken character would raise
    shown, content = "", text.encode()
    for i in tokenizer(kind).encode(text):
        content = content.removeprefix(tokenizer(kind).token_bytes[i])
        shown += decoder.decode(tokenizer(kind).token_bytes[i])
        read = text.encode()[: len(text.encode()) - len(content)]
        assert shown == read.decode(errors="ignore")
    assert shown + decoder.decode(b"", final=True) == text


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_character_is_decoded_as_unknown(kind: str) -> None:
    ids = tokenizer(kind).encode("火")
    expected = "火" if kind == "char" else "\N{REPLACEMENT CHARACTER}"
    assert tokenizer(kind).decode(ids[:1] if kind == "char" else ids[:-1]) == expected


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "no tokenizer", '{"class_path": "x"}'])
def test_json_of_something_else(text: str) -> None:
    with pytest.raises(InputError, match="expected a tokenizer as JSON"):
        Tokenizer(text)


@pytest.mark.parametrize("size", [-1, 0, 259])
def test_bpe_vocabulary_without_room_for_all_bytes(size: int) -> None:
    with pytest.raises(InputError, match=f"vocab_size={size} was given.* at least 260"):
        Tokenizer.bpe([SAMPLE], size)


@pytest.mark.parametrize("take", [lambda text: Tokenizer.bpe(text, 300), Tokenizer.word, Tokenizer.byte().encode_batch])
def test_one_text_is_not_taken_for_its_letters(take: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"one text, 'a cat', was given; expected several: put it in a list"):
        take("a cat")


def test_bpe_vocabulary_beyond_all_memory() -> None:
    with pytest.raises(InputError, match=r"vocab_size=1000000000000 was given; expected at most 4,194,304 tokens"):
        Tokenizer.bpe([SAMPLE], 10**12)
