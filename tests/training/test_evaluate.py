"""Scoring a text: with sliding context, with the state carried, and learning on the way."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from torch.nn import functional as F
from trainers import small_model, small_module, train

from seqmodels import GRU, InputError, TextDataModule, Transformer, fit
from seqmodels.batch import IGNORE, Batch
from seqmodels.cli.main import main
from seqmodels.data import Replica, ScoredWindows
from seqmodels.state import detach
from seqmodels.tasks.dynamic_evaluation import Dynamic, dynamic_evaluation
from seqmodels.training.evaluate import Reading, evaluate


@given(
    count=st.integers(1, 80),
    length=st.integers(1, 12),
    stride=st.integers(1, 12),
    batch_size=st.integers(1, 4),
    world=st.integers(1, 3),
)
def test_sliding_windows_score_every_token_once(
    count: int, length: int, stride: int, batch_size: int, world: int
) -> None:
    column = torch.arange(10, 11 + count)  # a token tells its place
    if stride > length:
        with pytest.raises(InputError, match="at most that"):
            ScoredWindows(column, length, batch_size, Replica(), stride)
        return
    seen: Counter[int] = Counter()
    for rank in range(world):
        batches = ScoredWindows(column, length, batch_size, Replica(rank, world), stride)
        for k in range(len(batches)):
            batch = batches[0, k]
            for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
                for place, (token, target) in enumerate(zip(inputs, targets, strict=True)):
                    if target != IGNORE:
                        seen[target] += 1
                        assert target == token + 1
                        context = target - inputs[0]  # how many tokens of the text the model has seen
                        assert context == place + 1
                        assert context > length - stride or inputs[0] == 10
    assert seen == Counter(range(11, 11 + count))


def test_more_context_is_what_the_stride_gives(text_file: Path) -> None:
    """Each figure against one forward pass a token, on the context that its window has."""
    data = small_module(text_file, False)
    model = small_model(data, GRU(8, 16)).double()
    train(model, data, 60, precision="64-true")
    model.eval()
    column = data.tokens("validation").long()
    for stride in (1, 5, 16):
        nats = 0.0
        for target in range(1, len(column)):
            start = 0 if target <= 16 else -(-(target - 16) // stride) * stride
            part = column[start : target + 1]
            logits, _ = model(Batch(part[None, :-1], part[None, 1:]))
            nats += float(F.cross_entropy(logits[0, -1], part[-1]).detach())
        found = evaluate(model, data, "validation", Reading(stride=stride))
        assert found["nats_per_token"] == pytest.approx(nats / (len(column) - 1))
        assert found["tokens"] == len(column) - 1


def naive(model: Any, batches: list[Batch], statistics: list[Batch], how: Dynamic) -> float:
    """Dynamic evaluation as a loop over named weights."""
    names = dict(model.named_parameters())

    def gradients(batch: Batch, state: Any) -> tuple[dict[str, torch.Tensor], float, Any]:
        model.zero_grad()
        logits, end = model(batch, state)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
        (loss / (batch.targets != IGNORE).sum()).backward()
        return {n: p.grad.clone() for n, p in names.items()}, float(loss.detach()), end

    roots = {n: torch.zeros_like(p) for n, p in names.items()}
    for batch in statistics:
        for n, g in gradients(batch, None)[0].items():
            roots[n] += g**2 / len(statistics)
    roots = {n: r.sqrt() for n, r in roots.items()}
    mean = torch.cat([r.flatten() for r in roots.values()]).mean()
    trained = {n: p.detach().clone() for n, p in names.items()}
    nats, state = 0.0, None
    for batch in batches:
        found, loss, end = gradients(batch, state if batch.continues else None)
        nats += loss
        state = detach(end)
        for n, p in names.items():
            pull = (how.decay * roots[n] / mean).clamp(max=1)
            p.data = p.data + pull * (trained[n] - p.data) - how.lr * found[n] / (roots[n] + how.epsilon)
    for n, p in names.items():
        p.data = trained[n]
    return nats


def test_dynamic_evaluation_is_the_loop(text_file: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data, GRU(8, 16)).double()
    train(model, data, 40, precision="64-true")
    model.eval()
    before = [p.detach().clone() for p in model.parameters()]
    scored = data.scored_batches("validation", lanes=1, piece=10)
    batches = [scored[0, k] for k in range(len(scored))]
    statistics = [data.training_batches()[0, k]._replace(continues=False) for k in range(5)]
    how = Dynamic(lr=1e-3, decay=0.01)
    *_, sums = dynamic_evaluation(model, batches, statistics, how)
    for p, start in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, start)  # put back
    assert float(sums.nats) == pytest.approx(naive(model, batches, statistics, how))
    *_, still = dynamic_evaluation(model, batches, statistics, Dynamic(lr=0.0))
    assert float(still.nats) != pytest.approx(float(sums.nats), rel=1e-4)
    static = evaluate(model, data, "validation", Reading(lanes=1))
    assert float(still.compute()["nats_per_token"]) == pytest.approx(static["nats_per_token"])


def test_what_repeats_is_learned(text_file: Path) -> None:
    """On a text that says one thing again and again, a model that learns from it soon knows it."""
    data = small_module(text_file, True)
    model = small_model(data)
    train(model, data, 60)
    line = data.tokenizer.encode("naïve café gate ")
    column = torch.tensor([1, *(line * 40)])
    batches = [
        Batch(column[None, k : k + 16], column[None, k + 1 : k + 17], continues=k > 0, continued=True)
        for k in range(0, len(column) - 17, 16)
    ]
    statistics = [data.training_batches()[0, k] for k in range(5)]
    ends = []
    for how in (Dynamic(lr=0.0), Dynamic(lr=3e-3, decay=0.0)):
        *_, sums = dynamic_evaluation(model, batches, statistics, how)
        ends.append(float(sums.compute()["nats_per_token"]))
    assert ends[1] < 0.7 * ends[0]


def test_command_says_how_the_text_was_read(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_module(text_file, True)
    run = fit(small_model(data), data, max_steps=20, validations=1, runs=str(tmp_path))
    capsys.readouterr()
    main(["test", str(run), "--no-carry", "--length", "32", "--stride", "8", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["reading"] == "windows of 32 tokens, stride 8"
    assert record["unit"] == "characters"
    assert record["tokens"] == data.facts("validation").tokens
    main(["test", str(run), "--dynamic", "--dynamic-piece", "9"])
    assert "1 lane, learning from every 9 tokens" in capsys.readouterr().out
    for words, hint in (
        (["--stride", "4"], "--no-carry"),
        (["--no-carry", "--stride", "17"], "at most that"),
        (["--lanes", "0"], "at least 1"),
        (["--no-carry", "--lanes", "2"], "lanes=2 is for a state that is carried"),
        (["--dynamic", "--lanes", "2"], "dynamic evaluation reads one"),
        (["--dynamic-piece", "5"], "--dynamic"),
        (["--dynamic-lr", "1e-3"], "--dynamic"),
        (["--column", "body"], "--data"),
        (["--dynamic", "--dynamic-decay", "2"], r"decay in [0, 1]"),
    ):
        assert hint in refused(capsys, "test", str(run), *words)


def test_bits_per_byte_are_of_the_text_as_it_stands(tmp_path: Path) -> None:
    """Words leave out all white space but one between two, and bytes are counted nonetheless."""
    path = tmp_path / "wide.txt"
    path.write_text("one   two\n\n  three\n" * 100)
    data = TextDataModule(str(path), tokenizer="word", length=16, batch_size=2, carry=True)
    found = evaluate(small_model(data), data, "validation", Reading())
    nats = found["nats_per_token"] * found["tokens"]
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / data.facts("validation").bytes)
    assert found["bits_per_character"] == pytest.approx(found["bits_per_byte"])


def test_dynamic_evaluation_goes_window_after_window(text_file: Path) -> None:
    """However many rows a batch of training had."""
    data = small_module(text_file, False)
    model = small_model(data, Transformer(8, 1, 2, context=16)).double()
    train(model, data, 40, precision="64-true")
    model.eval()
    reading = Reading(stride=4, dynamic=Dynamic(lr=1e-3))
    scored = ScoredWindows(data.tokens("validation"), 16, 1, Replica(), 4)
    batches = [scored[0, k] for k in range(len(scored))]
    training = data.training_batches()
    statistics = [training[0, k] for k in range(len(training))]
    found = evaluate(model, data, "validation", reading, data)
    assert reading.dynamic is not None
    wanted = naive(model, batches, statistics, reading.dynamic)
    assert found["nats_per_token"] * found["tokens"] == pytest.approx(wanted)


def test_dynamic_evaluation_that_diverges_is_no_figure(text_file: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data)
    with pytest.raises(InputError, match=r"at lr=1e\+39; give a lower --dynamic-lr"):
        evaluate(model, data, "validation", Reading(dynamic=Dynamic(lr=1e39)), data)


def test_rows_of_chosen_targets_are_those_of_training(text_file: Path) -> None:
    data = small_module(text_file, True, scored_targets="last")
    assert {data.scored_batches("validation")[0, 0].targets.shape[1]} == {16}


def test_perplexity_per_word_is_of_all_nats(tmp_path: Path) -> None:
    """Words are between white space of any kind; two tokenizers of one text count the same words."""
    path = tmp_path / "text.txt"
    path.write_text("a  man\tsat\n\n on  it\n" * 30)
    for tokenizer in ("char", "byte"):
        data = TextDataModule(path, tokenizer=tokenizer, length=8, batch_size=2)
        figures = evaluate(small_model(data, GRU(8, 16)), data, "validation", Reading())
        words = sum(len(text.split()) for text in data.corpus.rows("validation")["text"])
        nats = figures["nats_per_token"] * figures["tokens"]
        assert words == pytest.approx(data.facts("validation").characters * 5 / 20, abs=5)
        assert figures["perplexity_per_word"] == pytest.approx(math.exp(nats / words))
