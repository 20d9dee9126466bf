import contextlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch
from torch.testing import assert_close

from benchmarks import (
    against,
    batches,
    beam,
    budget,
    cells,
    ctranslate,
    diagnostics,
    engines,
    gpu,
    loading,
    memories,
    pace,
    recompute,
    safety,
    sampling,
    scale,
    start,
    trainer,
    translation,
)
from benchmarks.__main__ import main
from benchmarks.measure import Comparison, Entry, Measured, Side, compare, compare_all, made_up_text, per_second
from benchmarks.pace import COMPARISON, TOPIC, Pace
from benchmarks.page import table
from benchmarks.peak import in_fresh_processes, in_process
from benchmarks.seen import SEEN, Seen, record
from benchmarks.topics import TOPICS as TOPICS_BY_NAME
from seqmodels.batch import BOS, EOS, IGNORE, NEVER, Batch
from seqmodels.data import TextDataModule, Tokenizer
from seqmodels.decoding import Beam
from seqmodels.environment import has_bf16_lstm, multiplies_bf16
from seqmodels.errors import InputError
from seqmodels.nn import Transformer, quantization
from seqmodels.tasks import Translator
from seqmodels.tasks.batch_translation import hypotheses


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


TOPICS = {
    "trainer": (partial(trainer.run, steps=1), *[5 + has_bf16_lstm() + 2 * multiplies_bf16("cpu")] * 2),
    "recompute": (recompute.run, 2, 1),
    "batches": (batches.run, 4, 4),
    "cells": (cells.run, 5, 5),
    "memories": (memories.run, 21, 21),
    "sampling": (sampling.run, 8, 8),
    "translation": (translation.run, 1, 1),
    "diagnostics": (diagnostics.run, 6, 0),
    "safety": (safety.run, 2, 2),
    "loading": (loading.run, 4, 4),
    "engines": (engines.run, 12, 12),
    "beam": (beam.run, 2 + multiplies_bf16("cpu"), 2 + multiplies_bf16("cpu")),
    "scale": (scale.run, 2 * 5 * 2 + 2, 2),
    "start": (start.run, 3, 3),
    "gpu": (gpu.run, 8, 8),
}


SLOW = (
    "scale", "start", "loading", "trainer", "memories", "engines", "gpu", "sampling", "cells", "batches", "beam",
    "recompute",
)  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "count", "with_rival"),
    [pytest.param(*TOPICS[topic], id=topic, marks=[pytest.mark.slow] * (topic in SLOW)) for topic in TOPICS],
)
def test_topics(topic: Callable[..., Iterator[Comparison]], count: int, with_rival: int) -> None:
    comparisons = list(topic(rounds=1, small=True))
    assert len(comparisons) == count
    assert len({comparison.what for comparison in comparisons}) == count
    compared = [comparison for comparison in comparisons if comparison.rival is not None]
    assert len(compared) == with_rival
    for comparison in comparisons:
        assert comparison.ours > 0
        assert len(comparison.ours_by_round) == 1
    for comparison in compared:
        assert comparison.rival > 0
        assert comparison.ratio == pytest.approx(comparison.ours / comparison.rival)


def test_rounds_are_interleaved_and_medians_taken() -> None:
    calls = []
    figures = {"ours": itertools.chain([0.0], [2.0, 4.0, 9.0]), "rival": itertools.chain([0.0], [2.0, 1.0, 3.0])}

    def side(name: str) -> float:
        calls.append(name)
        return next(figures[name])

    comparison = compare("work", partial(side, "ours"), partial(side, "rival"), unit="ms/step", rounds=3, target="none")
    assert calls == ["ours", "rival", "ours", "rival", "rival", "ours", "ours", "rival"]  # a warm-up, then three rounds
    assert (comparison.ours, comparison.rival) == (4.0, 2.0)
    assert comparison.ratios == (1.0, 4.0, 3.0)
    assert comparison.ratio == 3.0
    assert comparison.difference == 3.0
    line = comparison.line()
    assert "ratio   3.00 (1.00..4.00)" in line
    assert "+3.00 ms" in line
    assert comparison.record()["spread"] == [1.0, 4.0]


@pytest.mark.parametrize(
    ("seconds", "budget", "lines", "rounds"),
    [
        (1.0, TOPIC, 1, 5),
        (COMPARISON / 3.5, TOPIC, 1, 3),
        (COMPARISON / 3.5, TOPIC, 2, 5),
        (COMPARISON, TOPIC, 1, 2),
        (TOPIC, TOPIC, 1, 1),
        (40.0, 60.0, 1, 1),  # the later topics need the rest
    ],
)
def test_there_are_as_many_rounds_as_there_is_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, budget: float, lines: int, rounds: int
) -> None:
    now, turns = [100.0], list[float]()
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    paced = Pace()
    paced.turn = lambda: turns.append(now[0])
    paced.begin(budget)
    for _ in paced.rounds(5, lines):
        now[0] += seconds
    assert len(turns) == rounds
    assert paced.spared == pytest.approx((rounds - 1) * seconds)


def test_rounds_end_where_ratios_are_settled() -> None:
    """A program of two lines runs once a round for both."""
    calls, steady, noisy = [], itertools.repeat(1.0), itertools.cycle([1.0, 1.1])

    def side(name: str, figures: Iterator[float]) -> float:
        calls.append(name)
        return next(figures)

    rival = partial(side, "rival", steady)
    alike = Entry("a", partial(side, "ours", steady), rival)
    assert len(compare_all([alike], unit="s", warm_up=False)[0].ratios) == 3
    calls.clear()
    both = compare_all([alike, Entry("b", partial(side, "noisy", noisy), rival)], unit="s", warm_up=False)
    assert [one.what for one in both] == ["a", "b"]
    assert [len(one.ratios) for one in both] == [5, 5]
    assert calls[:6] == ["ours", "rival", "noisy", "noisy", "rival", "ours"]


def test_memory_is_weighed_in_one_place_for_ours_and_one_for_rivals() -> None:
    weighed: list[list[str]] = []

    @contextlib.contextmanager
    def weigh(ours: bool) -> Iterator[Callable[[Side], Measured]]:
        weighed.append([])
        assert ours == (len(weighed) == 1)

        def run(side: Side) -> Measured:
            weighed[-1].append(str(side))
            return side(), 10.0 * len(weighed) + len(weighed[-1])

        yield run

    ours = [lambda: 1.0 for _ in range(3)]
    rival = lambda: 2.0  # noqa: E731
    entries = [Entry("a", ours[0], rival), Entry("b", ours[1], rival), Entry("c", ours[2], rival, weighed=False)]
    found = compare_all(entries, unit="s", warm_up=False, weigh=weigh)
    assert weighed == [[str(ours[0]), str(ours[1])], [str(rival)]]
    assert [one.memory for one in found] == [(11.0, 21.0), (12.0, 21.0), ()]


def test_minutes_are_shared_by_what_topics_took(tmp_path: Path) -> None:
    path, surroundings = tmp_path / "minutes.json", {"device": "A", "commit": "abcdefghi"}
    budget.record(path, {"long": (200.0, 100.0), "short": (20.0, 10.0), "longest": (500.0, 400.0)}, surroundings)
    times = budget.read(path)
    assert budget.share(["long", "short"], times, 220.0) == pytest.approx({"long": 200.0, "short": 20.0})
    # A topic takes five minutes at most, and one round at least; others have the rest.
    assert budget.share(["long", "short"], times, 330.0) == pytest.approx({"long": 300.0, "short": 30.0})
    assert budget.share(["longest", "short"], times, 415.0) == pytest.approx({"longest": 400.0, "short": 15.0})
    assert budget.share(["long", "new"], times, 50.0) == pytest.approx({"long": 100.0, "new": budget.LEAST})
    lines = list(budget.plan(["long", "new"], times))
    assert re.search(r"long +1.7 min +3.3 min  A, abcdefg, \d{4}", lines[1])
    assert lines[2].endswith("never")
    assert lines[3].split()[:2] == ["all", "8.3"]


def test_command_plans(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*(topic for topic in TOPICS_BY_NAME if topic != "gpu"), "all"]
    assert float(lines[-1].split()[1]) <= 30
    with pytest.raises(SystemExit):
        main(["--plan", "--against", "main"])
    assert "leave one of them out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_of_its_own_starts_once() -> None:
    """Its memory is that of its first run; each run of a fresh one is the first."""
    for how, different in ((in_process, 1), (in_fresh_processes, 2)):
        with how(True) as run:
            found = [run(_process_number) for _ in range(2)]
        assert len({figure for figure, _ in found}) == different
        assert all(peak > 10 for _, peak in found)


def _process_number() -> float:
    return os.getpid()


@pytest.mark.slow
def test_our_processes_have_the_settings_of_our_program() -> None:
    for ours in (True, False):
        with in_process(ours) as run:
            assert (run(_waits)[0] in (3000, 10000)) is ours


def _waits() -> float:
    return float(os.environ.get("GOMP_SPINCOUNT", 0))


def test_best_and_worst_machine(tmp_path: Path) -> None:
    def found(what: str, unit: str, ours: float) -> dict[str, Any]:
        return Comparison(what, unit, "", (ours,), (2.0,)).record()

    path = tmp_path / "seen.json"
    for machine, ours in (("A", 1.0), ("B", 3.0), ("C", 2.0)):
        results = {"topic": [found("rate", "tokens/s", ours), found("time", "s", ours), found("step", "ms/step", ours)]}
        record(path, results, {"device": machine, "commit": "abc"})
    seen = Seen.read(path)
    assert seen.best_and_worst("rate", "tokens/s") == "1.50, B; 0.50, A"
    assert seen.best_and_worst("time", "s") == "0.50, A; 1.50, B"
    assert seen.best_and_worst("step", "ms/step") == "-1.00, A; 1.00, B"
    assert seen.best_and_worst("new", "s") == ""
    assert "| 1.50, B; 0.50, A |" in table(results, seen)


def test_the_page_tells_what_was_seen() -> None:
    seen, page = Seen.read(SEEN), Path(__file__).parents[1] / "docs" / "laboratory" / "performance.md"
    lines = [line.strip("|").split("|") for line in page.read_text(encoding="utf-8").splitlines()]
    rows = [[cell.strip() for cell in cells] for cells in lines if len(cells) == 9 and not cells[0].startswith("-")]
    rows = [row for row in rows if row[0] != "Work"]
    assert len(rows) > 40
    for what, *_, told in rows:
        unit = next(row[3] for row in rows if row[0] == what)
        assert told == seen.best_and_worst(what, unit)


@pytest.mark.slow
def test_another_commit_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    """Here the same one, by a stand-in for its folder; a topic that fails there is told."""
    with pytest.raises(InputError, match="expected a commit"), against.checked_out("no such commit"):
        pass
    found = list(against.compare_commits("cells", against.ROOT, ["2", "--small"]))
    assert len(found) == 5
    assert all(len(one.ours_by_round) == len(one.rival_by_round) == 2 for one in found)
    assert list(against.compare_commits("nothing", against.ROOT, ["1", "--small"])) == []
    assert "nothing ended early at this commit: KeyError" in capsys.readouterr().out


def test_a_rate_counts_all_of_the_work() -> None:
    done = []
    assert per_second(done.append, 7)() > 0
    assert done == [7]


def test_the_rival_reads_the_same_batches() -> None:
    with made_up_text(3_000) as text:
        data = TextDataModule(str(text), length=16, batch_size=4, shuffle=False)
        rows = batches._rows(data.tokens("train"), 16)
        expected = data.training_batches()[0, 0]
        tokens = rows[:4]["tokens"]
        assert torch.equal(tokens[:, :-1], expected.inputs)
        assert torch.equal(tokens[:, 1:], expected.targets)
        assert not (expected.targets == IGNORE).any()
        first, second = itertools.islice(batches._lanes(rows, 4), 2)
        assert torch.equal(first["tokens"][:, -1], second["tokens"][:, 0])


def test_cost_of_analyses() -> None:
    """Five at doubling steps up to 1,600 and one at the end, each as long as two steps: 12 of 3,000."""
    assert diagnostics.percent(2.0, [0.5, 1.5]) == pytest.approx(0.4)


def test_the_plain_network_is_as_large() -> None:
    model = sampling.made(sampling.LSTM(16, 16, num_layers=2))
    plain = sampling.plain_twin(model)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    main(["cells", "--small", "--rounds", "1", "--json", str(path), "--page", str(tmp_path / "page")])
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__}" in printed
    assert "Layer of LSTM, 8 wide, 2x16 " in printed
    assert re.search(r"ceiling: \d+ GFLOP/s in fp32", printed)
    content = json.loads(path.read_text())
    assert list(content["topics"]) == ["cells"]
    assert content["topics"]["cells"][0]["ratio"] > 0
    assert content["ceiling"]["flops"] > 0
    page = (tmp_path / "page" / "speed.md").read_text()
    assert page.strip() in printed
    assert len(re.findall("^[|] Layer of", page, re.MULTILINE)) == 5
    assert (tmp_path / "page" / "speed.png").stat().st_size > 0
    assert content["environment"]["versions"]["torch"]


@pytest.mark.parametrize("arguments", [["speed"], ["--rounds", "0"]])
def test_command_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    error = capsys.readouterr().err
    assert "choose from trainer" in error or "at least 1" in error


def test_ctranslate2_has_the_same_probabilities(tmp_path: Path) -> None:
    """The same weights in another program: an oracle for encoder, decoder and search."""
    torch.manual_seed(1)
    tokenizer = Tokenizer.char(["abcdefgh "])
    shape = {"input_size": 32, "num_layers": 2, "num_heads": 4}
    model = Translator(Transformer(**shape, causal=False), Transformer(**shape, memory_size=32), tokenizer).eval()
    for parameter in model.parameters():  # far from the small ones of the start, so that attention is sharp
        torch.nn.init.normal_(parameter, std=0.3)
    ctranslate.converted(model, tmp_path / "model")
    translator = ctranslate2.Translator(str(tmp_path / "model"), compute_type="float32")
    sources = tokenizer.encode_batch(["abc", "a", "hgfe dcba", "ab " * 12])
    targets = tokenizer.encode_batch(["cab dehhg", "hgfed", "b", "abcdefgh " * 3])
    names = [[[str(number) for number in ids] for ids in side] for side in (sources, targets)]
    for source, target, theirs in zip(sources, targets, translator.score_batch(*names), strict=True):
        inputs, expected = torch.tensor([[BOS, *target]]), torch.tensor([*target, EOS])
        with torch.no_grad():
            logits, _ = model(Batch(inputs, expected[None], source=torch.tensor([[*source, EOS]])))
        rows = logits[0].index_fill(1, torch.tensor(NEVER), -torch.inf).log_softmax(-1)
        ours = rows.gather(1, expected[:, None]).squeeze(1)
        assert_close(ours, torch.tensor(theirs.log_probs), rtol=0, atol=1e-4)
    found = [best[0].tokens for best in hypotheses([model], sources, Beam(size=1, max_length=20))]
    assert found == ctranslate.translated(translator, sources, 1, max_length=20)


@pytest.mark.slow
def test_beam_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "MIN_WEIGHTS", 1)
    tokenizer = Tokenizer.char(["abcdefgh "])
    shape = {"input_size": 16, "num_layers": 1, "num_heads": 2}
    model = Translator(Transformer(**shape, causal=False), Transformer(**shape, memory_size=16), tokenizer).eval()
    speeds, scores = beam.of_run(model, ["abc", "a b"], ["cba", "b a"], size=2, rounds=1)
    assert all(comparison.ratio > 0 for comparison in speeds)
    assert list(scores) == [
        "ours",
        "ours by its engine",
        *["ours in bf16"] * multiplies_bf16("cpu"),
        "ours in int8",
        "CTranslate2 in int8",
        "CTranslate2",
    ]
