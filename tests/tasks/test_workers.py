"""Batches in processes of their own, beside the same one after another."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from seqmodels import GRU, LanguageModel, Tokenizer, Transformer, Translator
from seqmodels.decoding import Beam, Draws, Sampling
from seqmodels.errors import InputError
from seqmodels.nn import quantization
from seqmodels.tasks import batch_translation, generation, scoring, workers
from seqmodels.tasks.workers import Workers

LETTERS = "abcdefgh "


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    if not workers.FORKS:
        pytest.skip("processes are copied on Linux only")
    monkeypatch.setattr(workers, "cores", lambda: 2)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What users are told."""
    told: list[str] = []
    monkeypatch.setattr(Workers.__init__, "__defaults__", (1, None, told.append))
    return told


def translator(size: int = 16) -> Translator:
    torch.manual_seed(3)
    encoder = Transformer(size, 1, 2, context=64, causal=False)
    decoder = Transformer(size, 1, 2, context=64, memory_size=size)
    return Translator(encoder, decoder, Tokenizer.char(LETTERS)).eval()


def sentences(count: int) -> list[str]:
    chance = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 12, (count,), generator=chance).tolist()
    return ["".join(LETTERS[k] for k in torch.randint(0, 9, (length,), generator=chance)) for length in lengths]


@pytest.mark.parametrize("how", [Beam(3, n_best=3, max_length=9), Draws(2, seed=5, max_length=9)])
def test_translations_are_those_of_one_process(how: Beam | Draws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts, scores, log-probabilities: to the bit, by the loop over batches as oracle."""
    monkeypatch.setattr(batch_translation, "TOKENS", 100)
    model, texts = translator(), sentences(40)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = model.translate(texts, how)
        assert model.translate(texts, how, workers=2) == expected
    finally:
        torch.set_num_threads(before)
    alone = [found for text in texts for found in model.translate([text], how)]
    if isinstance(how, Beam):
        assert [[one.text for one in found] for found in alone] == [[one.text for one in found] for found in expected]


def test_in_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_translation, "TOKENS", 100)
    monkeypatch.setattr(quantization, "MIN_WEIGHTS", 1)
    model, texts = translator(), sentences(12)
    quantization.to_int8(model)
    how = Beam(2, max_length=6)
    assert model.translate(texts, how, workers=2) == model.translate(texts, how)


@pytest.mark.parametrize(("prompts", "samples"), [(9, 1), (3, 3), (1, 9)])
def test_texts_are_those_of_one_process(prompts: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "ROWS", 4)
    torch.manual_seed(1)
    model = LanguageModel(GRU(8, 8), Tokenizer.char(LETTERS)).eval()
    write = partial(
        model.generate_batch, sentences(prompts), samples=samples, max_tokens=12, sampling=Sampling(1.0), seed=4
    )
    assert write(workers=2) == write()
    found = write()
    assert [len(texts) for texts in found] == [samples] * prompts


def test_scores_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_POSITIONS", 40)
    torch.manual_seed(1)
    model = LanguageModel(GRU(8, 8), Tokenizer.char(LETTERS)).eval()
    texts = sentences(30)
    assert model.score(texts, workers=2) == model.score(texts)


def slow_alone(parent: int, item: int) -> int:
    time.sleep(0.15 if os.getpid() == parent else 0.01)
    return item * item


def slow_together(parent: int, item: int) -> int:
    time.sleep(0.001 if os.getpid() == parent else 0.15)
    return item * item


@pytest.mark.parametrize(
    ("work", "count", "says"),
    [(slow_alone, 2, "2 workers, a batch on each core, are"), (slow_together, 1, "2 threads for one batch are")],
)
def test_what_is_faster_is_measured_and_told(
    work: Callable[[int, int], int], count: int, says: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    here = partial(work, os.getpid())
    by = Workers(None)
    assert list(by.map(here, range(3))) == [0, 1, 4]  # too few to tell
    assert by.count == 2
    assert not lines
    assert list(by.map(here, range(12))) == [item * item for item in range(12)]
    assert by.count == count
    assert len(lines) == 1
    assert lines[0].startswith(says)
    assert list(by.map(here, range(7))) == [item * item for item in range(7)]
    assert len(lines) == 1


def test_the_order_and_an_error_of_a_worker() -> None:
    """The results before it come, then the exception itself; nothing is left running."""

    def work(item: int) -> int:
        time.sleep(0.0 if item else 0.3)  # so that others are ready before the first
        if item == 7:
            raise InputError("item 7 was given; expected another")
        return item

    found = Workers(2).map(work, range(30))
    assert [next(found) for _ in range(7)] == list(range(7))
    with pytest.raises(InputError, match="item 7 was given; expected another"):
        next(found)
    assert not workers.multiprocessing.active_children()


def test_an_error_that_cannot_be_sent() -> None:
    class OwnError(Exception):
        def __reduce__(self) -> str:
            raise TypeError("not to be sent")

    def work(item: int) -> int:
        raise OwnError("a network failed")

    with pytest.raises(RuntimeError, match="OwnError: a network failed"):
        list(Workers(2).map(work, range(4)))


def test_a_worker_ended_from_outside() -> None:
    def work(item: int) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(InputError, match="a worker was ended before its work was done"):
        list(Workers(2).map(work, range(6)))
    assert not workers.multiprocessing.active_children()


def test_leaving_ends_the_workers() -> None:
    """As Ctrl-C does, wherever it comes."""
    found = Workers(2).map(lambda item: time.sleep(0.01 if item < 2 else 60), range(9))
    next(found)
    assert len(workers.multiprocessing.active_children()) == 2
    found.close()  # type: ignore[attr-defined]
    assert not workers.multiprocessing.active_children()


def test_more_than_the_cores(lines: list[str]) -> None:
    assert Workers(5).count == 2
    assert lines == ["5 workers were asked for, and there are 2 cores: 2 of them work"]
    assert Workers(2, torch.device("meta")).count == 1
    assert lines[1:] == ["2 workers were asked for, which need Linux and a model on the CPU: one process works"]
    assert Workers(None, torch.device("meta")).count == 1
    assert len(lines) == 2
    with pytest.raises(InputError, match="0 workers were given; expected at least 1"):
        Workers(0)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\nfrom seqmodels.tasks import workers\nworkers.cores = lambda: 2\n"
        "def work(item):\n    open(f'{item}', 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
        "list(workers.Workers(2).map(work, range(4)))\n"
    )
    program = subprocess.Popen([sys.executable, script], cwd=tmp_path)
    names = [tmp_path / "0", tmp_path / "1"]
    while not all(name.exists() and name.read_text() for name in names):
        time.sleep(0.05)
    program.kill()
    program.wait()
    for name in names:
        for _ in range(100):
            state = Path("/proc", name.read_text(), "stat")
            if not state.exists() or ") Z" in state.read_text():
                break
            time.sleep(0.05)
        else:
            pytest.fail("a worker is left")
