"""BPE-dropout: the same text in other pieces, reproducibly."""

import random

import pytest

from seqmodels import InputError, Tokenizer
from seqmodels.data.bpe_dropout import BpeDropout

TEXTS = ["the cat sees the other cat there", "Where is the weather, then? — there!", "thé, 3 km", "", "a  b\tc"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.bpe(TEXTS * 20, 320)


def test_without_dropout_it_is_the_tokenizer(tokenizer: Tokenizer) -> None:
    cut = BpeDropout(tokenizer, 0.0, 1)
    for number, text in enumerate(TEXTS):
        assert cut.encode(text, 0, number) == tokenizer.encode(text)


def test_the_text_stays_and_its_pieces_change(tokenizer: Tokenizer) -> None:
    cut = BpeDropout(tokenizer, 0.3, 1)
    seen = set()
    for epoch in range(10):
        for number, text in enumerate(TEXTS):
            ids = cut.encode(text, epoch, number)
            assert tokenizer.decode(ids) == text
            assert len(ids) >= len(tokenizer.encode(text))
        seen.add(tuple(cut.encode(TEXTS[0], epoch, 0)))
    assert len(seen) > 3


def test_chance_is_that_of_seed_epoch_and_number(tokenizer: Tokenizer) -> None:
    first = [BpeDropout(tokenizer, 0.3, 1).encode(text, 4, 7) for text in TEXTS]
    again = BpeDropout(tokenizer, 0.3, 1)
    again.encode("the weather", 0, 0)  # what was asked before changes nothing
    assert [again.encode(text, 4, 7) for text in TEXTS] == first
    assert [BpeDropout(tokenizer, 0.3, 2).encode(text, 4, 7) for text in TEXTS] != first


def test_more_dropout_cuts_finer(tokenizer: Tokenizer) -> None:
    lengths = []
    for rate in (0.0, 0.1, 0.5, 0.9):
        cut = BpeDropout(tokenizer, rate, 1)
        lengths.append(sum(len(cut.segment("Ġthere", random.Random(seed))) for seed in range(200)))
    assert lengths == sorted(lengths)
    assert lengths[-1] > 3 * lengths[0]


def test_other_vocabularies_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="give tokenizer='bpe'"):
        BpeDropout(Tokenizer.char(["abc"]), 0.1, 1)
    with pytest.raises(InputError, match=r"bpe_dropout=1\.0"):
        BpeDropout(tokenizer, 1.0, 1)
