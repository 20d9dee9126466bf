"""Tokenizers from elsewhere: their ids moved up by four, their texts as they were."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from seqmodels import TextDataModule
from seqmodels.batch import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError

SAMPLE = ["the train that trains the trainers in a house, the theme; don't stop. " * 5, "Ein Zug fährt 火车 house " * 5]
SHIFT = len(SPECIAL_TOKENS)


def trained(made: tokenizers.Tokenizer, trainer: Any, texts: list[str] = SAMPLE, **settings: Any) -> Any:
    made.train_from_iterator(texts, trainer(**settings, show_progress=False))
    return made


def byte_level() -> tokenizers.Tokenizer:
    """As GPT-2 has it."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    settings = {"special_tokens": ["<|endoftext|>"], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    return trained(made, trainers.BpeTrainer, vocab_size=300, **settings)


def byte_fallback() -> tokenizers.Tokenizer:
    """As Llama has it: its own <unk>, <s> and </s> first, then bytes, then subwords with ▁ for the space."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained(made, trainers.BpeTrainer, SAMPLE[:1], vocab_size=340, special_tokens=names[:3])
    inside = json.loads(made.to_str())
    inside["model"]["vocab"] = {
        name: number
        for number, name in enumerate(dict.fromkeys([*names, *sorted(inside["model"]["vocab"], key=made.token_to_id)]))
    }
    return tokenizers.Tokenizer.from_str(json.dumps(inside))


def word_piece() -> tokenizers.Tokenizer:
    """As BERT has it, cased."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trained(made, trainers.WordPieceTrainer, vocab_size=90, special_tokens=names)
    made.enable_padding(length=50)
    made.enable_truncation(4)
    return made


def unigram() -> tokenizers.Tokenizer:
    """As T5 has it; its special tokens have the names of ours and other places."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    names = ["<eos>", "<unk>", "<pad>"]
    return trained(made, trainers.UnigramTrainer, vocab_size=70, special_tokens=names, unk_token="<unk>")


def word_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    return trained(made, trainers.WordLevelTrainer, vocab_size=60, special_tokens=["[UNK]"])


KINDS = [byte_level, byte_fallback, word_piece, unigram, word_level]
MAY_BE_UNKNOWN = [word_piece, unigram, word_level]
kinds = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
TEXTS = st.text("thera in,dft.;'Z火车ä\nŋ🚂", max_size=20) | st.lists(
    st.sampled_from(["the", " train", "ers", " ", "ŋ", "火车", "👩‍👩‍👧", "<eos>", "<pad>", "[UNK]", "<s>", "é"])
).map("".join)


@functools.cache
def pair(make: object) -> tuple[tokenizers.Tokenizer, Tokenizer]:
    """The foreign one as its library reads it, without what it adds around a text, and ours around it."""
    foreign = make()  # type: ignore[operator]
    ours = Tokenizer(foreign.to_str())
    foreign.encode_special_tokens = True
    foreign.no_padding()
    foreign.no_truncation()
    return foreign, ours


def unknown_of(foreign: tokenizers.Tokenizer) -> int | None:
    return next((foreign.token_to_id(n) for n in ("[UNK]", "<unk>") if foreign.token_to_id(n) is not None), None)


@kinds
@given(text=TEXTS)
def test_ids_are_moved_and_texts_are_not(make: object, text: str) -> None:
    foreign, ours = pair(make)
    inside = foreign.encode(text, add_special_tokens=False).ids
    ids = ours.encode(text)
    assert ids == [UNK if i == unknown_of(foreign) else i + SHIFT for i in inside]
    assert not {PAD, BOS, EOS} & set(ids)
    assert ours.encode_batch([text, ""]) == [ids, ours.encode("")]
    assert ours.decode(ids) == foreign.decode(inside)
    assert ours.decode([BOS, *ids, EOS, PAD]) == foreign.decode(inside)
    assert ours.vocab_size == foreign.get_vocab_size() + SHIFT
    assert max(ids, default=0) < ours.vocab_size == ours.sizes.shape[1]


@pytest.mark.parametrize("make", [byte_level, byte_fallback], ids=lambda make: make.__name__)
@given(text=TEXTS | st.text())
def test_any_text_survives_bytes(make: object, text: str) -> None:
    _, ours = pair(make)
    assert ours.decode(ours.encode(text)) == text
    assert ours.unknown(text) == ""


@given(text=TEXTS)
def test_sizes_of_byte_level_are_exact(text: str) -> None:
    _, ours = pair(byte_level)
    assert ours.sizes[:, ours.encode(text)].sum(1).tolist() == [len(text), len(text.encode())]


@given(text=TEXTS.filter(bool))
def test_sizes_with_a_space_before_the_text_are_one_more(text: str) -> None:
    _, ours = pair(byte_fallback)
    assert ours.sizes[:, ours.encode(text)].sum(1).tolist() == [len(text) + 1, len(text.encode()) + 1]


@pytest.mark.parametrize("make", [word_piece, unigram, word_level], ids=lambda make: make.__name__)
def test_sizes_of_words_apart(make: object) -> None:
    """One space before each, the first included; an unknown token counts as one byte."""
    _, ours = pair(make)
    text = "the trainers fährt 火车 house"
    assert UNK not in ours.encode(text)
    extra = 1 + 2 * (make is word_piece)  # which sets Chinese characters apart, so decoding gives them spaces
    sizes = ours.sizes[1, ours.encode(text)].sum()
    assert sizes == len(ours.decode(ours.encode(text)).encode()) + 1
    assert len(text.encode()) + 1 <= sizes <= len(text.encode()) + extra
    assert ours.sizes[:, UNK].tolist() == [1, 1]
    assert not ours.sizes[:, [PAD, BOS, EOS]].any()


@kinds
@given(text=TEXTS, before=TEXTS)
def test_text_comes_token_by_token(make: object, text: str, before: str) -> None:
    _, ours = pair(make)
    first, rest = ours.encode(before), ours.encode(text)
    write = ours.writer([BOS, *first])
    shown = b"".join(write(i) for i in [*rest, EOS]).decode("utf-8", errors="replace")
    if make is not word_piece:  # whose decoder takes back a space where punctuation follows
        assert ours.decode(first) + shown == ours.decode([*first, *rest])


@pytest.mark.parametrize("make", MAY_BE_UNKNOWN, ids=lambda make: make.__name__)
def test_unknown(make: object) -> None:
    _, ours = pair(make)
    assert ours.unknown("the train") == ""
    assert "ŋ" in ours.unknown("the ŋ train")


@pytest.mark.parametrize("first", [[], ["<pad>"], ["<bos>", "<pad>", "<eos>", "<unk>"], ["a", *SPECIAL_TOKENS]])
def test_other_tokens_in_first_place(first: list[str]) -> None:
    """All are moved, whatever their names."""
    vocabulary = {token: number for number, token in enumerate([*first, "b", "c", "d", "e"])}
    made = Tokenizer(tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[])).to_str())
    assert made.encode("bcde") == [len(first) + SHIFT + n for n in range(4)]
    assert made.vocab_size == len(first) + 8


def test_holes_among_the_ids() -> None:
    made = Tokenizer(tokenizers.Tokenizer(models.BPE(vocab={"b": 3, "c": 9}, merges=[])).to_str())
    assert (made.encode("bc"), made.vocab_size, made.sizes.shape) == ([7, 13], 14, (2, 14))


def test_ours_from_a_file_is_not_moved(tmp_path: Path) -> None:
    mine = Tokenizer.char(["abc"])
    (tmp_path / "mine.json").write_text(mine.json)
    assert Tokenizer.from_file(tmp_path / "mine.json").encode("abc") == mine.encode("abc") == [4, 5, 6]


@kinds
def test_from_a_file_to_batches(make: object, tmp_path: Path) -> None:
    foreign, ours = pair(make)
    (tmp_path / "tokenizer.json").write_text(ours.json)
    (tmp_path / "text.txt").write_text("the train that trains " * 60)
    data = TextDataModule(
        str(tmp_path / "text.txt"), tokenizer=str(tmp_path / "tokenizer.json"), length=8, batch_size=2
    )
    train = ("the train that trains " * 60)[: 60 * 22 * 9 // 10]
    inside = foreign.encode(train, add_special_tokens=False).ids
    assert data.tokens("train").tolist() == [BOS, *(UNK if i == unknown_of(foreign) else i + SHIFT for i in inside)]
    assert data.constructor_call["init_args"]["tokenizer"] == str(tmp_path / "tokenizer.json")


HALF = word_level().to_str()[:300].encode()
OTHERS = [b"", b"{", b"[]", b'{"model": {"type": "BPE"}}', b'{"a": 1}', b"\xff\xfe", b'{"version": "1.0"}', HALF]


@pytest.mark.parametrize("content", OTHERS)
def test_file_of_something_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json' is no tokenizer\.json of the tokenizers library") as caught:
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.json': No such file"):
        TextDataModule("python", tokenizer=str(tmp_path / "gone.json")).tokenizer  # noqa: B018


def test_special_ids_never_come_from_text() -> None:
    """Of a tokenizer whose first tokens are ours, with words that have their names."""
    made = tokenizers.Tokenizer(models.WordLevel(dict(zip([*SPECIAL_TOKENS, "a"], range(5), strict=True)), "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ours = Tokenizer(made.to_str())
    assert ours.encode("a <eos> <pad> <bos> b") == [4, UNK, UNK, UNK, UNK]
    assert ours.encode_batch(["<eos> a"]) == [[UNK, 4]]


@pytest.mark.parametrize("make", [Tokenizer.byte, lambda: Tokenizer.char(["ab"]), lambda: Tokenizer.word(["a b"])])
def test_text_that_is_no_unicode(make: Any) -> None:
    ours = make()
    for use in (ours.encode, ours.spans, ours.unknown, lambda text: ours.encode_batch(["a", text])):
        with pytest.raises(InputError, match=r"has '\\udcff' at character 2, which is half a character; expected text"):
            use("a\udcff")
    for train in (Tokenizer.char, Tokenizer.word, lambda texts: Tokenizer.bpe(texts, 300)):
        with pytest.raises(InputError, match="half a character"):
            train(["a", "\ud800"])
