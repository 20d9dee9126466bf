"""BPE-dropout: the same text in other pieces, reproducibly."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from batches import epoch_of
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels import InputError, Tokenizer, TranslationDataModule
from seqmodels.batch import EOS
from seqmodels.data.bpe_dropout import BpeDropout

TEXTS = ["the cat sees the other cat there", "Where is the weather, then? — there!", "thé, 3 km", "", "a  b\tc"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.bpe(TEXTS * 20, 320)


def lower_case(made: tokenizers.Tokenizer) -> None:
    made.normalizer = normalizers.Lowercase()


def retrained(made: tokenizers.Tokenizer, texts: list[str], **settings: Any) -> None:
    settings |= {"special_tokens": ["<unk>"], "show_progress": False}
    made.train_from_iterator(texts * 20, trainers.BpeTrainer(vocab_size=90, **settings))


def end_of_word(made: tokenizers.Tokenizer) -> None:
    made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.BPEDecoder(suffix="</w>")
    retrained(made, TEXTS, end_of_word_suffix="</w>")


def continued(made: tokenizers.Tokenizer) -> None:
    made.model, made.pre_tokenizer = models.BPE(unk_token="<unk>"), pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    retrained(made, TEXTS[:2], continuing_subword_prefix="##")


def no_words(made: tokenizers.Tokenizer) -> None:
    made.model, made.pre_tokenizer = models.BPE(unk_token="<unk>", fuse_unk=True), None
    retrained(made, TEXTS[:2])


def as_it_is(made: tokenizers.Tokenizer) -> None:
    made.model.dropout = 0.5  # which would make `encode` itself random


FOREIGN = [lower_case, end_of_word, no_words, continued, as_it_is]


def foreign(change: Any) -> Tokenizer:
    """A tokenizer as GPT-2 has it, changed."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    made.train_from_iterator(TEXTS * 20, trainer)
    change(made)
    return Tokenizer(made.to_str())


@pytest.mark.parametrize("change", FOREIGN)
def test_without_dropout_any_bpe_is_the_tokenizer(change: Any) -> None:
    made = foreign(change)
    cut, whole = BpeDropout(made, 0.3, 1), BpeDropout(made, 0.0, 1)
    texts = [*TEXTS, "A man", "x火y火火"]
    assert whole.growth(texts) == 1 < cut.growth(texts)
    for number, text in enumerate(texts):
        assert whole.encode(text, 0, number) == made.encode(text)
        assert made.decode(cut.encode(text, 0, number)) == made.decode(made.encode(text))


def test_a_tokenizer_with_tokens_of_its_own_is_refused(tokenizer: Tokenizer) -> None:
    made = tokenizers.Tokenizer.from_str(tokenizer.json)
    made.add_tokens(["the cat"])
    cut = BpeDropout(Tokenizer(made.to_str()), 0.0, 1)
    cut.growth(["a dog"])
    with pytest.raises(InputError, match="bpe_dropout cannot cut 'see the cat' as this tokenizer does; leave it out"):
        cut.growth(["a dog", "see the cat"])


def test_it_never_overruns_length_or_budget(tmp_path: Path) -> None:
    """Sentences that dropout would make longer than that stay as they were."""
    texts = ["the cat sees the other cat there", "where is the weather then", "the cat"] * 30
    for language in ("en", "fr"):
        for split in ("train", "valid"):
            (tmp_path / f"{split}.{language}").write_text("\n".join(texts))
    for layout in ("pair", "joined"):
        data = TranslationDataModule(
            str(tmp_path), "en", "fr", vocab_size=320, bpe_dropout=0.5, batch_tokens=40, max_length=12, layout=layout
        )
        batches, tokens, whole = data.training_batches(), 0, sum(map(len, (data.tokenizer.encode(t) for t in texts)))
        for epoch in range(3):
            for batch in epoch_of(batches, epoch):
                sides = [batch.inputs] if batch.source is None else [batch.inputs, batch.source]
                assert all(side.numel() <= 40 for side in sides)
                assert batch.inputs.shape[1] <= (12 + 1 if layout == "pair" else 2 * 12 + 2)
                tokens += int((batch.targets > EOS).sum())
        assert tokens > 1.2 * 3 * whole


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


def test_a_merge_left_out_may_come_later(tokenizer: Tokenizer) -> None:
    """As in the paper, unlike sentencepiece 0.2.3 (findings/dropped_merges_come_back.sh)."""
    rate, word, draws = 0.3, "Ġthere", 4000
    cut = BpeDropout(tokenizer, rate, 1)

    def stays_whole(pieces: list[str]) -> float:
        if len(pieces) == 1:
            return 1.0
        pairs = ((cut.ranks.get(pair), place) for place, pair in enumerate(itertools.pairwise(pieces)))
        places = [place for rank, place in sorted((rank, place) for rank, place in pairs if rank is not None)]
        after = ([*pieces[:place], pieces[place] + pieces[place + 1], *pieces[place + 2 :]] for place in places)
        return sum((1 - rate) * rate**number * stays_whole(one) for number, one in enumerate(after))

    wanted, once = stays_whole(list(word)), (1 - rate) ** (len(word) - 1)
    rng = random.Random(0)
    found = sum(cut.segment(word, rng) == [word] for _ in range(draws)) / draws
    assert found == pytest.approx(wanted, abs=0.03)
    assert wanted > once + 0.06


def test_other_vocabularies_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="give tokenizer='bpe'"):
        BpeDropout(Tokenizer.char(["abc"]), 0.1, 1)
    with pytest.raises(InputError, match=r"bpe_dropout=1\.0"):
        BpeDropout(tokenizer, 1.0, 1)
