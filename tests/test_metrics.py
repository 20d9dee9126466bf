"""Sums of nats, and the figures made of them."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.batch import IGNORE
from seqmodels.data import Tokenizer
from seqmodels.metrics import (
    TextMetrics,
    TranslationMetrics,
    bleu_by_length,
    corpus_scores,
    count_words,
    perplexity,
    summed_nats,
    writing,
)

V = 11


def example(B: int = 4, T: int = 7) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(B, T, V, dtype=torch.float64), torch.randint(V, (B, T))
    targets[0, :3] = targets[2] = targets[3, -1] = IGNORE
    return logits, targets


def test_summed_nats_by_hand() -> None:
    logits, targets = example()
    nats, count = 0.0, 0
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for scores, target in zip(row, wanted, strict=True):
            if target != IGNORE:
                nats += math.log(sum(math.exp(score) for score in scores)) - scores[target]
                count += 1
    found, counted = summed_nats(logits, targets)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(nats, rel=1e-13)
    assert counted == count == 28 - 3 - 7 - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_logarithms_are_in_single_precision_at_least(dtype: torch.dtype) -> None:
    logits, targets = example(8, 50)
    logits = logits.to(dtype)  # what the model said; from here on nothing more is lost
    exact = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORE)
    found, _ = summed_nats(logits, targets)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)
    rough = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORE)
    assert dtype == torch.float32 or rough.item() != pytest.approx(exact.item(), rel=1e-6)  # it matters


def test_gradient_reaches_what_is_scored_and_nothing_else() -> None:
    logits, targets = example()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(summed_nats(logits, targets)[0], logits)
    scored = targets != IGNORE
    expected = logits.softmax(-1) - F.one_hot(targets.clamp(min=0), V)
    assert_close(gradient, torch.where(scored[..., None], expected, 0.0))


def test_nothing_to_score() -> None:
    nats, count = summed_nats(torch.randn(2, 3, V), torch.full((2, 3), IGNORE))
    assert (nats.item(), count.item()) == (0.0, 0)


def test_certain_and_wrong_is_finite() -> None:
    logits = torch.zeros(1, 1, V)
    logits[..., 0] = 1e4
    assert summed_nats(logits, torch.tensor([[1]]))[0].item() == pytest.approx(1e4)


def test_targets_of_any_layout() -> None:
    logits, targets = example()
    assert_close(summed_nats(logits.transpose(0, 1), targets.T), summed_nats(logits, targets))


SIZES = torch.tensor([[0, 0, 0, 1, 1, 2, 0, 3, 1, 1, 5], [0, 0, 0, 1, 2, 2, 1, 9, 4, 1, 5]])


@given(
    cuts=st.lists(st.integers(0, 40), max_size=6),
    ranks=st.integers(1, 3),
    targets=st.lists(st.sampled_from([IGNORE, *range(3, V)]), min_size=40, max_size=40).filter(
        lambda targets: any(SIZES[0, target] for target in targets if target != IGNORE)
    ),
)
def test_unequal_batches_give_the_figures_of_the_whole(cuts: list[int], ranks: int, targets: list[int]) -> None:
    """However a text is cut into batches, and these are dealt to ranks."""
    logits = torch.randn(1, 40, V, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = torch.tensor(targets)[None]
    scored = whole[whole != IGNORE]
    nats = F.cross_entropy(logits[whole != IGNORE], scored, reduction="sum").item()
    bits, (characters, size) = nats / math.log(2), SIZES[:, scored].sum(1).tolist()
    metrics = [TextMetrics(SIZES) for _ in range(ranks)]
    borders = [0, *sorted(cuts), 40]
    for number, (first, last) in enumerate(itertools.pairwise(borders)):
        part = whole[:, first:last]
        if part.numel():
            metrics[number % ranks].update(summed_nats(logits[:, first:last], part)[0], part)
    for other in metrics[1:]:
        metrics[0].merge_state(other)
    found = {name: value.item() for name, value in metrics[0].compute().items()}
    wanted = {"nats_per_token": nats / len(scored), "perplexity": math.exp(nats / len(scored))}
    wanted |= {"bits_per_character": bits / characters, "bits_per_byte": bits / size}
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("text", ["the cat sat", "naïve café 火 🚂"])
def test_bits_per_byte_of_chance(text: str) -> None:
    """Where all 256 bytes are equally likely, a byte takes 8 bits, whatever the characters."""
    tokenizer = Tokenizer.byte()
    logits = torch.full((1, len(text.encode()), tokenizer.vocab_size), -torch.inf)
    logits[..., 4:] = 0.0
    targets = torch.tensor([tokenizer.encode(text)])
    metric = TextMetrics(tokenizer.sizes)
    metric.update(summed_nats(logits, targets)[0], targets)
    wanted = {"bits_per_byte": 8, "bits_per_character": 8 * len(text.encode()) / len(text)}
    wanted |= {"perplexity": 256, "nats_per_token": math.log(256)}
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(wanted)


def test_vocabularies_compare_by_bytes() -> None:
    """The same nats over the same text are the same bits per byte, however many tokens it was cut into."""
    text = "the theme of the thesis, the theme of the thesis"
    found = []
    for tokenizer in (Tokenizer.byte(), Tokenizer.char([text]), Tokenizer.bpe([text], 280)):
        metric = TextMetrics(tokenizer.sizes)
        metric.update(torch.tensor(100.0), torch.tensor([tokenizer.encode(text)]))
        found.append(metric.compute())
    assert len({f["nats_per_token"].item() for f in found}) > 1  # which compares nothing
    for name in ("bits_per_byte", "bits_per_character"):
        assert [f[name].item() for f in found] == pytest.approx([100 / math.log(2) / len(text)] * 3)


def test_long_sums_lose_nothing() -> None:
    """Single precision would stand still at 2 ** 24."""
    metric, target = TextMetrics(SIZES), torch.tensor([[4]])
    metric.update(torch.tensor(2.0**24), target)
    for _ in range(8):
        metric.update(torch.tensor(1.0), target)
    assert metric.compute()["nats_per_token"].item() * 9 == pytest.approx(2**24 + 8, rel=1e-12)


def test_sums_stay_precise_in_a_model_of_half_precision() -> None:
    model = torch.nn.ModuleList([TextMetrics(SIZES)]).to(torch.bfloat16)
    target = torch.tensor([[4]])
    for _ in range(2):
        for nats in (1000.0, 1.0, 1.0, 1.0, 1.0):
            model[0].update(torch.tensor(nats), target)
        assert model[0].compute()["nats_per_token"].item() == pytest.approx(200.8)
        model[0].reset()


def test_nothing_to_divide_by_is_infinite() -> None:
    metric = TextMetrics(SIZES)
    metric.update(torch.tensor(1.0), torch.tensor([[6]]))  # a byte inside a character
    found = metric.compute()
    assert found["bits_per_character"].item() == math.inf
    assert found["bits_per_byte"].item() == pytest.approx(1 / math.log(2))


def test_sizes_are_no_part_of_a_checkpoint() -> None:
    """They follow from the tokenizer."""
    assert not TextMetrics(SIZES).state_dict()


# Translations

CHINESE = ["我非常喜欢你们的学校。", "他今天去了北京。", "这本书很有意思。", "请给我一杯水。"]
NEARLY = ["我很喜欢你们的学校。", "他今天去北京了。", "这本书很有意思。", "请给我一杯茶。"]


def test_a_perfect_translation_has_full_scores_in_any_language() -> None:
    for language, text in (
        ("zh", CHINESE), ("ja", ["今日はいい天気ですね。", "駅はどこにありますか。"]),
        ("ko_Kore", ["오늘은 날씨가 아주 좋네요."]), ("th", ["วันนี้อากาศดีมาก"]), ("de", ["Ein Mann geht mit ihm."]),
    ):  # fmt: skip
        scores = corpus_scores(text, text, language=language)
        assert [scores[name] for name in ("bleu", "bleu_lowercase", "chrf", "chrf++")] == pytest.approx([100] * 4)
        assert scores.get("ter", 0) == 0
        assert scores["exact_match"] == 1


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zho_Hans", "cmn", None, "de"])
def test_chinese_is_split_into_characters_whatever_its_code(language: str | None) -> None:
    """sacrebleu's own figure; without a code, or with one of a language with spaces, by the script."""
    scores = corpus_scores(CHINESE, NEARLY, language=language)
    assert scores["bleu"] == BLEU(tokenize="zh").corpus_score(CHINESE, [NEARLY]).score > 70
    assert "tok:zh" in scores["bleu_signature"]
    assert "asian:yes" in scores["ter_signature"]
    assert 0 < scores["ter"] < 30
    table = bleu_by_length(CHINESE, CHINESE, NEARLY, language=language)
    assert [(row["from"], row["sentences"]) for row in table] == [(5, 3), (10, 1)]


@pytest.mark.parametrize(
    ("language", "module", "ours", "reference"),
    [
        ("ja", "MeCab", ["私は学生です。", "今日は天気がいい。"], ["私は学生である。", "今日は天気がとてもいい。"]),
        ("ko", "mecab_ko", ["나는 학생입니다.", "오늘 날씨가 좋다."], ["나는 학생이다.", "오늘은 날씨가 좋다."]),
    ],
)
def test_japanese_and_korean_are_split_into_words_where_mecab_is_installed(
    language: str, module: str, ours: list[str], reference: list[str]
) -> None:
    """sacrebleu's own figure, without being told which tokenizer."""
    pytest.importorskip(module, reason='needs `pip install "sacrebleu[ja,ko]"`')
    scores = corpus_scores(ours, reference, language=language)
    assert scores["bleu"] == BLEU(tokenize=f"{language}-mecab").corpus_score(ours, [reference]).score
    assert 0 < scores["bleu"] < 100
    assert f"tok:{language}-mecab-" in scores["bleu_signature"]


@pytest.mark.parametrize(
    ("language", "text", "kind"),
    [
        ("ja", "", "ja"), (None, "東京は大きい", "ja"), (None, "東京大学", "zh"), ("jpn_Jpan", "", "ja"),
        (None, "서울은 크다", "ko"), ("lo", "", "th"), (None, "ສະບາຍດີ", "th"), (None, "a 東京", "zh"),
        (None, "Hello 東京", ""), ("pt_BR", "olá", ""), (None, "", ""),
    ],
)  # fmt: skip
def test_languages_are_told_by_code_or_script(language: str | None, text: str, kind: str) -> None:
    assert writing(language, [text]) == kind


def test_words_are_those_between_spaces_or_letters() -> None:
    for text, count in (
        ("A man - here.", 4), ("", 0), (" \n", 0), ("这本书 is good。", 5), ("東京タワー", 5), ("สวัสดี", 4),
        ("naïve café", 2), ("나는 학교에", 2),
    ):  # fmt: skip
        assert count_words(text) == count, text


def test_several_references_are_sacrebleus() -> None:
    ours, first, second = ["the cat sat on a mat", "a b c d"], ["the cat sat on the mat", "a b c e"], ["x", "a b c d"]
    scores = corpus_scores(ours, first, second)
    assert scores["bleu"] == BLEU().corpus_score(ours, [first, second]).score > corpus_scores(ours, first)["bleu"]
    assert scores["chrf++"] == CHRF(word_order=2).corpus_score(ours, [first, second]).score
    assert scores["bleu_signature"].startswith("nrefs:2|")
    assert "nw:2" in scores["chrf++_signature"]
    assert scores["exact_match"] == 0.5
    (row,) = bleu_by_length(["one two", "three"], ours, first, second)
    assert row["bleu"] == scores["bleu"]


def test_tokens_of_moses() -> None:
    """Punctuation that is split off counts as tokens, as in texts that Moses has split already."""
    scores = corpus_scores(
        ["Zwei Hunde spielen , hier ."], ["Zwei Hunde spielen, hier."], language="de", tokenizer="moses"
    )
    assert scores["bleu"] == pytest.approx(100)
    assert scores["bleu_signature"].partition("|moses:sacremoses-")[1]
    assert "moses" not in scores["chrf_signature"]
    (row,) = bleu_by_length(["a b"], ["c d , e f"], ["c d, e f"], tokenizer="moses")
    assert row["bleu"] == pytest.approx(100)


def test_sentences_that_cannot_be_scored() -> None:
    for scored in (corpus_scores, functools.partial(bleu_by_length, [])):
        assert_refused("0 translations .* at least one", scored, [], [])
    assert_refused("2 translations .* beside 2 and 1 sentences", corpus_scores, ["a", "b"], ["a", "b"], ["a"])
    assert_refused("expected lists", corpus_scores, "ab", "ab")
    assert_refused("expected lists", corpus_scores, ["a"])
    assert_refused("expected lists", corpus_scores, ["a"], [None])
    assert corpus_scores(np.array(["a b"]), np.array(["a b"]))["exact_match"] == 1
    assert_refused("'nonsense' of BLEU cannot be used", corpus_scores, ["a"], ["a"], tokenizer="nonsense")


def test_scores_in_training_split_the_language_as_test_does() -> None:
    metric = TranslationMetrics()
    metric.set_language("zh", CHINESE)
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(CHINESE[part], NEARLY[part])
    assert float(metric.compute()["bleu"]) == pytest.approx(corpus_scores(CHINESE, NEARLY)["bleu"], abs=1e-4)


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    assert perplexity(2.0) == math.exp(2.0)
    assert perplexity(1e4) == math.inf
