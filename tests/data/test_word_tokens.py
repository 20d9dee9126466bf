"""Words as tokens, and line ends among them."""

import collections
import gzip
from pathlib import Path

import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.batch import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.data import TextDataModule, Tokenizer
from seqmodels.errors import InputError

SAMPLE = "the cat saw the dog\nand the <unk> saw\n\nthe cat ."
SPACE = st.sampled_from([" ", "  ", "\t", "\r", "\u00a0", "\u2028"])
WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")), min_size=1, max_size=6
) | st.sampled_from(["the", "a<eos>", "<unk>", "<eos>", "<pad>", "<bos>", "火车", "é", "<unk>.", "##ing", "</s>"])
TEXTS = st.lists(WORDS | SPACE | st.just("\n"), max_size=30).map(" ".join)


def pieces(text: str) -> list[str]:
    """What the tokens should be, by Python's own means."""
    return [piece for line in text.split("\n") for piece in [*line.split(), "\n"]][:-1]


@given(text=TEXTS, other=TEXTS)
def test_against_python(text: str, other: str) -> None:
    words = Tokenizer.word([text])
    known = set(pieces(text)) - set(SPECIAL_TOKENS) | {"\n"}
    assert words.vocab_size == len(SPECIAL_TOKENS) + len(known)
    for some in (text, other):
        ids = words.encode(some)
        assert len(ids) == len(pieces(some))
        assert not {PAD, BOS, EOS} & set(ids)
        assert [i == UNK for i in ids] == [piece not in known for piece in pieces(some)]
        shown = [piece if piece in known else "<unk>" for piece in pieces(some)]
        lines = " ".join(shown).split("\n")
        assert words.decode(ids) == "\n".join(line.strip(" ") for line in lines)
        assert words.encode(words.decode(ids)) == ids
        assert words.encode_batch([some]) == [ids]
    assert set(words.unknown(other).split()) == set(pieces(other)) - known - {"<unk>"}


@given(text=TEXTS, before=TEXTS)
def test_text_comes_word_by_word(text: str, before: str) -> None:
    words = Tokenizer.word([text, before])
    first, rest = words.encode(before), words.encode(text)
    write = words.writer([BOS, *first])
    shown = [write(i).decode() for i in [*rest, EOS]]
    assert words.decode(first) + "".join(shown) == words.decode([*first, *rest])
    assert shown[-1] == ""


def test_special_tokens_add_nothing() -> None:
    words = Tokenizer.word([SAMPLE])
    assert words.decode([BOS, *words.encode("the cat\n"), EOS, PAD]) == "the cat\n"


@pytest.mark.parametrize("min_count", [1, 2, 3, 9])
@pytest.mark.parametrize("vocab_size", [None, 6, 7, 8, 100])
def test_the_most_frequent_words(min_count: int, vocab_size: int | None) -> None:
    counts = collections.Counter(SAMPLE.split())
    del counts["<unk>"]
    wanted = [word for word, count in counts.most_common() if count >= min_count]
    words = Tokenizer.word([SAMPLE], vocab_size, min_count)
    known = {word for word in counts if words.encode(word) != [UNK]}
    assert known <= set(wanted)
    assert len(known) == min(len(wanted), (vocab_size or 1000) - 5)
    assert not known or min(counts[word] for word in known) >= max([counts[w] for w in set(wanted) - known], default=0)
    assert words.encode("\n") == [4]


def test_a_text_of_one_line_still_knows_line_ends() -> None:
    words = Tokenizer.word(["one line"])
    assert words.decode(words.encode("line\none")) == "line\none"
    assert words.unknown("\n") == ""


@pytest.mark.parametrize(("vocab_size", "min_count"), [(5, 1), (0, 1), (-1, 1), (None, 0)])
def test_no_room_for_words(vocab_size: int | None, min_count: int) -> None:
    with pytest.raises(
        InputError, match=rf"vocab_size={vocab_size} and min_count={min_count} .* at least vocab_size=6"
    ):
        Tokenizer.word([SAMPLE], vocab_size, min_count)


PLAIN_WORDS = st.text("abé火<>.", min_size=1, max_size=6).filter(lambda word: word not in SPECIAL_TOKENS)
LINES = st.lists(st.lists(PLAIN_WORDS | st.just("<unk>"), max_size=5), max_size=6)


@given(lines=LINES)
def test_sizes_are_exact_but_for_white_space_that_is_more_than_one(lines: list[list[str]]) -> None:
    """Exact where each line has words and an end; of an empty line, its one character is not counted."""
    text = "".join(" ".join(line) + "\n" for line in lines)
    words = Tokenizer.word([text])
    empty = sum(not line for line in lines)
    found = words.sizes[:, words.encode(text)].sum(1).tolist()
    assert found == [len(text) - empty, len(text.encode()) - empty]
    assert not words.sizes[:, [PAD, BOS, EOS]].any()
    spread = text.replace(" ", "  ").replace("\n", " \n ")  # the same tokens
    assert words.encode(spread) == words.encode(text)


@given(text=TEXTS)
def test_sizes_never_count_more_than_there_is(text: str) -> None:
    """But the space behind the last word, where the text ends without one."""
    words = Tokenizer.word([text])
    real = " ".join(text.split()).replace("<eos>", "<unk>").replace("<pad>", "<unk>").replace("<bos>", "<unk>")
    assert words.sizes[1, words.encode(real)].sum() <= len(real.encode()) + 1


@pytest.fixture(scope="module")
def wikitext() -> Path:
    folder = DATA / "wikitext-2"
    if not folder.exists():
        pytest.skip(f"there is no {folder}; set SEQMODELS_DATA to the folder that has wikitext-2/train.txt.gz")
    return folder


def test_the_counts_of_wikitext(wikitext: Path) -> None:
    """The customary ones: 2,088,628 / 217,646 / 245,569 tokens, one end for each line, and 33,278 types."""
    data = TextDataModule(str(wikitext), tokenizer="word")
    assert data.tokenizer.vocab_size == 33_278 + 3  # PAD, BOS and EOS; "\n" is the custom's <eos>, UNK its <unk>
    counts = {"train": 2_088_628, "validation": 217_646, "test": 245_569}
    assert {split: data.facts(split).tokens for split in counts} == counts
    for split, name in {"train": "train", "validation": "valid", "test": "test"}.items():
        text = gzip.decompress((wikitext / f"{name}.txt.gz").read_bytes()).decode()
        facts = data.facts(split)
        assert facts.unknown == text.split().count("<unk>")
        assert (facts.characters, facts.bytes) == (len(text), len(text.encode()))
        # A line has a space before its first word and one behind its last: two that no word counts.
        size = int(data.tokenizer.sizes[1, data.tokens(split).long()].sum())
        assert size == facts.bytes - 2 * text.count("\n")
        assert size > 0.99 * facts.bytes
