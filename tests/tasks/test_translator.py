"""The translator: its laws, its losses, its translations."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels import GRU, LSTM, Beam, Draws, Hybrid, InputError, Tokenizer, Transformer, Translator
from seqmodels.analysis import alignment
from seqmodels.batch import BOS, EOS, IGNORE, Batch
from seqmodels.config import construct
from seqmodels.data import Sentences
from seqmodels.data.buckets import pair_batch
from seqmodels.metrics import summed_nats
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.batch_translation import translations
from seqmodels.tasks.regularizers import divergence

TEXT = Tokenizer.char(["abcdefgh "])

TRANSLATORS: dict[str, Callable[[], Translator]] = {
    "none": lambda: Translator(LSTM(6, 8), LSTM(6, 8), TEXT, attention="none", bidirectional=False),
    "none-reversed": lambda: Translator(
        GRU(6, 8), GRU(6, 8), TEXT, attention="none", bidirectional=False, reverse=True
    ),
    "mean-fed": lambda: Translator(GRU(6, 8), GRU(6, 8), TEXT, attention="mean", input_feeding=True),
    "additive": lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT),
    "general-fed-reversed": lambda: Translator(
        LSTM(6, 4), LSTM(6, 8), TEXT, attention="general", input_feeding=True, reverse=True
    ),
    "copied": lambda: Translator(
        LSTM(6, 8, 2), LSTM(6, 8, 2), TEXT, attention="none", bidirectional=False, bridge="copy"
    ),
    "copied-additive": lambda: Translator(GRU(6, 8), GRU(6, 8), TEXT, bidirectional=False, bridge="copy"),
    "dot": lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, attention="dot"),
    "Transformer": lambda: Translator(
        Transformer(6, 2, 3, causal=False), Transformer(6, 2, 3, memory_size=6), TEXT, tie_embeddings="all"
    ),
    "mixed": lambda: Translator(Hybrid(6, "GRU", 3), Transformer(8, 1, 2, memory_size=12), TEXT),
}


def ready(task: Translator) -> Translator:
    task = task.double().eval()
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return task


@pytest.fixture(params=TRANSLATORS)
def task(request: pytest.FixtureRequest) -> Translator:
    torch.manual_seed(0)
    return ready(TRANSLATORS[request.param]())


def sides(*texts: str) -> Sentences:
    ids = [[BOS, *TEXT.encode(text), EOS] for text in texts]
    return Sentences(torch.tensor([token for row in ids for token in row]))


SOURCES, TARGETS = sides("abc", "h", "gg fe dcba"), sides("cba", "hhhh", "a b")


def batch(*rows: int) -> Batch:
    return pair_batch(SOURCES, TARGETS, torch.tensor(rows), "pair")


def test_padding_changes_nothing(task: Translator) -> None:
    together, _ = task(batch(0, 1, 2))
    for row in range(3):
        alone, _ = task(batch(row))
        assert_close(together[row, : alone.shape[1]], alone[0])


def test_steps_say_what_forward_says(task: Translator) -> None:
    whole, _ = task(batch(0, 1, 2))
    every = batch(0, 1, 2)
    assert every.source is not None
    memory, state = task.encode(every.source, every.source_mask), None
    for t in range(every.inputs.shape[1]):
        logits, state = task.step(every.inputs[:, t], state, memory)
        assert_close(logits, whole[:, t])


def test_reading_in_reverse_is_reading_the_reversed_text() -> None:
    torch.manual_seed(0)
    forwards = ready(Translator(LSTM(6, 8), LSTM(6, 8), TEXT, attention="general", bidirectional=False))
    backwards = Translator(
        LSTM(6, 8), LSTM(6, 8), TEXT, attention="general", bidirectional=False, reverse=True
    ).double()
    backwards.load_state_dict(forwards.state_dict())
    given = batch(0)
    assert given.source is not None
    turned = given._replace(source=given.source.flip(1))
    assert_close(backwards.eval()(given)[0], forwards(turned)[0])
    assert not torch.allclose(backwards(given)[0], forwards(given)[0])


def test_translations_do_not_depend_on_each_other(task: Translator) -> None:
    texts = ["abc", "", "hhhhhhhhhhhh", "a", "gfe dcb", "abc"]
    beam = Beam(3, n_best=2, max_length=8)
    together = task.translate(texts, beam)
    assert [one.text for one in together[1]] == [""]
    assert together[0] == together[5]
    for text, found in zip(texts, together, strict=True):
        (alone,) = task.translate([text], beam)
        assert [one.text for one in alone] == [one.text for one in found]
        for one, other in zip(alone, found, strict=True):
            assert math.isclose(one.score, other.score, abs_tol=1e-5)


def test_scores_are_those_of_the_model(task: Translator) -> None:
    """The log-probability of a translation is the sum over its tokens under teacher forcing."""
    (found,) = task.translate(["gfe dcb"], Beam(3, n_best=3, length_penalty=0.7, max_length=12))
    for one in found:
        ids = TEXT.encode(one.text)
        ends = len(ids) < 12
        target = Sentences(torch.tensor([BOS, *ids, EOS]))
        logits, _ = task(pair_batch(sides("gfe dcb"), target, torch.tensor([0]), "pair"))
        logits = logits.detach().index_fill(-1, torch.tensor([0, 1, 3]), -torch.inf)
        logs = logits[0].float().log_softmax(-1)
        wanted = sum(float(logs[place, token]) for place, token in enumerate([*ids, *([EOS] if ends else [])]))
        assert math.isclose(one.log_probability, wanted, abs_tol=1e-3)
        assert math.isclose(one.score, wanted / (len(ids) + ends) ** 0.7, abs_tol=1e-3)


@pytest.mark.parametrize("task", ["additive", "general-fed-reversed", "Transformer"], indirect=True)
def test_the_penalty_for_what_was_not_looked_at(task: Translator) -> None:
    """Each score against the attention of the whole translation; of a short one, some tokens have enough."""
    plain, covering = (Beam(3, n_best=3, coverage_penalty=weight, max_length=4) for weight in (0.0, 0.4))
    sources = ["gfe dcb", "h"]
    assert task.translate(sources, covering) != task.translate(sources, plain)
    for source, found in zip(sources, task.translate(sources, covering), strict=True):
        for one in found:
            ids = TEXT.encode(one.text)
            tokens = min(4, len(ids) + 1)
            given = alignment(task, source, one.text).weights[:tokens].sum(0)
            wanted = one.log_probability / tokens + 0.4 * float(given.clamp(max=1.0).log().sum())
            assert math.isclose(one.score, wanted, abs_tol=1e-3)


def test_models_together(task: Translator) -> None:
    """A model beside itself is itself; two models say the mean of their probabilities."""
    texts, beam = ["abc", "hg"], Beam(2, max_length=6)
    assert [best[0].text for best in translations([task, task], texts, beam)] == [
        best[0].text for best in task.translate(texts, beam)
    ]
    other = ready(construct(task.constructor_call, SequenceTask))
    (found,) = translations([task, other], ["abc"], Beam(1, max_length=1))
    first, second = (
        model.step(torch.tensor([BOS]), None, model.encode(torch.tensor([[*TEXT.encode("abc"), EOS]])))[0].softmax(-1)
        for model in (task, other)
    )
    mean = (first + second)[0] / 2
    mean[[0, 1, 3]] = 0
    likeliest = int(mean.argmax())
    assert found[0].text == ("" if likeliest == EOS else TEXT.decode([likeliest]))


def test_models_of_other_vocabularies_are_refused() -> None:
    one = Translator(GRU(6, 4), GRU(6, 8), TEXT)
    other = Translator(GRU(6, 4), GRU(6, 8), Tokenizer.char(["xyz"]), TEXT)
    with pytest.raises(InputError, match="differ in their tokenizer"):
        translations([one, other], ["a"], Beam())


def test_smoothed_labels() -> None:
    """Cross-entropy with a target that gives each token its part."""
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 5, dtype=torch.float64), torch.tensor([[4, IGNORE, 2], [0, 1, IGNORE]])
    smoothed = summed_nats(logits, targets, 0.2)[0]
    wanted = torch.zeros((), dtype=torch.float64)
    for b in range(2):
        for t in range(3):
            if targets[b, t] != IGNORE:
                wanted_p = torch.full((5,), 0.2 / 5, dtype=torch.float64)
                wanted_p[targets[b, t]] += 0.8
                wanted -= (wanted_p * logits[b, t].log_softmax(-1)).sum()
    assert_close(smoothed, wanted)


def test_divergence_of_two_passes() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 3, 5, dtype=torch.float64), torch.tensor([[4, IGNORE, 2], [0, 1, IGNORE]] * 2)
    one, other = logits.log_softmax(-1).chunk(2)
    both = F.kl_div(one, other, log_target=True, reduction="none").sum(-1) + F.kl_div(
        other, one, log_target=True, reduction="none"
    ).sum(-1)
    assert_close(divergence(logits, targets), both[targets[:2] != IGNORE].mean() / 2)
    assert float(divergence(torch.cat([logits[:2], logits[:2]]), targets)) == 0


def test_r_drop_reads_each_row_twice() -> None:
    torch.manual_seed(0)
    task = Translator(GRU(6, 4), GRU(6, 8), TEXT, dropout=0.5, r_drop=2.0).double().train()
    twice = task.prepared(batch(0, 1))
    assert twice.inputs.shape[0] == 4
    torch.manual_seed(1)
    objective, nats, penalty, _ = task.losses(twice, None)
    torch.manual_seed(1)
    logits, _ = task(twice)
    assert isinstance(penalty, Tensor)
    assert_close(penalty, 2.0 * divergence(logits, twice.targets))
    assert_close((objective, nats), (summed_nats(logits, twice.targets)[0],) * 2)
    assert penalty.item() > 0
    task.eval()
    again = task.losses(twice, None).penalty
    assert isinstance(again, Tensor)
    assert again.item() < 1e-12


def test_embeddings_are_tied() -> None:
    tied = TRANSLATORS["Transformer"]()
    assert tied.head.weight is tied.embedding.weight is tied.source_embedding.weight
    half = Translator(GRU(8, 4), GRU(8, 8), TEXT, tie_embeddings="target")
    assert half.head.weight is half.embedding.weight is not half.source_embedding.weight


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, attention="luong"), "choose one of none, mean, additive"),
        (lambda: Translator(GRU(6, 4), Transformer(6, 1, 1, memory_size=6), TEXT), "memory of 6 features.* have 8"),
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, tie_embeddings="target"), "as wide at its input as at its out"),
        (lambda: Translator(GRU(6, 4), GRU(8, 8), TEXT, tie_embeddings="all"), "one vocabulary for both sides"),
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, tie_embeddings="both"), "choose none, target or all"),
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, dropout=1.0), r"expected a fraction in \[0, 1\)"),
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, label_smoothing=1.0), "label_smoothing=1.0"),
        (lambda: Translator(GRU(6, 4), GRU(6, 8), TEXT, r_drop=-1.0), "r_drop=-1.0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Callable[[], Translator], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_an_ensemble_is_as_short_as_its_shortest_network() -> None:
    def learned(context: int) -> Translator:
        torch.manual_seed(0)
        shape = {"input_size": 6, "num_layers": 1, "num_heads": 1, "positions": "learned", "context": context}
        return Translator(Transformer(**shape, causal=False), Transformer(**shape, memory_size=6), TEXT).eval()  # type: ignore[arg-type]

    models = [learned(40), learned(9)]
    for order in (models, models[::-1]):
        ((found,),) = translations(order, ["abcdefgh" * 3], Beam(1, max_length=30))
        ((short,),) = translations(order, ["abcdefgh"], Beam(1, max_length=9))
        assert found.text == short.text


def test_what_cannot_be_translated_is_refused() -> None:
    model = TRANSLATORS["dot"]().eval()
    with pytest.raises(InputError, match="expected a list of texts to translate, got 'abc'"):
        model.translate("abc")
    with pytest.raises(InputError, match=r"expected Beam\(\.\.\.\) or Draws\(\.\.\.\) behind the texts, got 5"):
        model.translate(["abc"], 5)  # type: ignore[arg-type]
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    for how in (Beam(), Draws()):
        with pytest.raises(InputError, match="the model has diverged"):
            model.translate(["abc"], how)


def test_one_vocabulary_given_twice_is_joint() -> None:
    twice = Translator(GRU(8, 8), GRU(8, 8), TEXT, TEXT, tie_embeddings="all", bidirectional=False)
    assert twice.source_embedding.weight is twice.head.weight


def test_coverage_is_summed_in_single_precision() -> None:
    """A penalty of half-precision weights differs from that of the same in single precision by rounding alone."""
    torch.manual_seed(0)
    model = ready(TRANSLATORS["Transformer"]()).float()
    text, how = "abcdefgh" * 8, Beam(1, max_length=40, min_length=40)
    half = Translator.bfloat16(model)
    plain, covered = (half.translate([text], replace(how, coverage_penalty=weight))[0][0] for weight in (0.0, 1.0))
    penalty = covered.score - plain.score
    (wanted,) = translations([half.float()], [text], replace(how, coverage_penalty=1.0))[0]
    assert penalty == pytest.approx(wanted.score - wanted.log_probability / 40, rel=0.02)
