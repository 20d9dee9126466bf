"""Recomputed windows have the losses and gradients of whole ones, for every network, dropout and padding included."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import NETWORKS
from torch import Tensor
from torch.testing import assert_close
from trainers import Record, small_model, small_module, train, validate

from seqmodels import LanguageModel, TextDataModule, Tokenizer, Translator, fit
from seqmodels.analysis.gradient_horizon import read_horizon
from seqmodels.batch import IGNORE, Batch
from seqmodels.environment import threads
from seqmodels.errors import InputError
from seqmodels.nn import GRU, LSTM, Backbone, Hybrid, MinGRU, NGram, RecurrentStack, Transformer
from seqmodels.nn.cell import Cell
from seqmodels.nn.dropout import LastingMasks
from seqmodels.state import detach, tensors_of
from seqmodels.tasks import losses
from seqmodels.tasks.losses import Losses
from seqmodels.tasks.recompute import pieces
from seqmodels.training.strategy import set_recompute

LETTERS = Tokenizer.char(["abcdefgh"])
T = 23


def made(network: Backbone, **more: Any) -> LanguageModel:
    """A model with every kind of dropout whose mask holds for all positions, in double precision."""
    penalties = {"activation_penalty": 1.0, "temporal_penalty": 2.0}
    dropouts = {"dropout": 0.3, "input_dropout": 0.2, "embedding_dropout": 0.2}
    for part in network.modules():
        if isinstance(part, Cell):
            part.weight_dropout = 0.25
        if isinstance(part, RecurrentStack):
            part.dropout = 0.25
    return LanguageModel(network, LETTERS, **penalties | dropouts | more).double().train()


def a_batch(padded: bool, rows: int = 3) -> Batch:
    tokens = torch.randint(4, LETTERS.vocab_size, (rows, T + 1))
    targets, mask = tokens[:, 1:].clone(), None
    if padded:
        mask = torch.ones(rows, T, dtype=torch.bool)
        mask[0, 19:], mask[1, :7], mask[2, 3:21] = False, False, False
        targets[~mask] = IGNORE
    return Batch(tokens[:, :-1].contiguous(), targets, mask)


def step(model: LanguageModel, batch: Batch, state: Any, seed: int = 5) -> tuple[Losses, list[Tensor], Tensor]:
    """Losses, gradients, and the random state after both."""
    torch.manual_seed(seed)
    found = model.losses(batch, state)
    needed = [one for one in model.parameters() if one.requires_grad]
    loss = found.objective / 7 + found.penalty
    gradients = torch.autograd.grad(loss, needed, materialize_grads=True, allow_unused=True)
    return found, list(gradients), torch.get_rng_state()


def check_alike(found: list[Tensor], wanted: list[Tensor]) -> None:
    """Up to 1e-12 of the largest gradient."""
    scale = 1 + max(float(one.abs().max()) for one in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_every_network(name: str) -> None:
    """From a carried state, with padding: as in one graph, whatever the length of the pieces divides."""
    torch.manual_seed(0)
    model, batch = made(NETWORKS[name]()), a_batch(padded=True)
    before = detach(model(a_batch(padded=False))[1])
    wanted, whole, random = step(model, batch, before)
    for length in (5, 11, 22):
        model.recompute = length
        found, gradients, then = step(model, batch, before)
        assert_close((found.objective, found.nats, found.penalty), (wanted.objective, wanted.nats, wanted.penalty))
        check_alike(gradients, whole)
        assert torch.equal(then, random)
        for one, other in zip(tensors_of(found.state), tensors_of(detach(wanted.state)), strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("padded", [False, True])
def test_single_values_are_dropped_alike_both_times(padded: bool) -> None:
    """Their masks are drawn piece by piece, as those of a loop over the pieces that keeps everything."""
    torch.manual_seed(0)
    network = Hybrid(8, "LSTM,attention,MinGRU", num_heads=2, context=4, dropout=0.3)
    model, batch = made(network), a_batch(padded)
    model.temporal_penalty = 0.0
    masks = LastingMasks()
    window = torch.ones_like(batch.inputs, dtype=torch.bool) if batch.mask is None else batch.mask
    torch.manual_seed(5)
    state, total, following = None, torch.zeros(()), pieces(batch, 5)
    for part in following:
        with masks.of(first=part is following[0]):
            found = model._losses(part, state, (), window)
        state, total = found.state[0], total + found.objective / 7 + found.penalty
    needed = list(model.parameters())
    wanted = torch.autograd.grad(total, needed, materialize_grads=True, allow_unused=True)
    model.recompute = 5
    check_alike(step(model, batch, None)[1], list(wanted))


def test_pieces() -> None:
    batch = a_batch(padded=True)._replace(continued=True)
    parts = pieces(batch, 10)
    assert [part.inputs.shape[1] for part in parts] == [10, 10, 3]
    assert [(part.continues, part.continued) for part in parts] == [(False, True), (True, True), (True, True)]
    for name in ("inputs", "targets", "mask"):
        assert_close(torch.cat([getattr(part, name) for part in parts], 1), getattr(batch, name))
    assert pieces(batch, T) == pieces(batch, None) == [batch]


def test_autocast_rounds_alike() -> None:
    """In bf16, weights are rounded anew in every piece, and have gradients from all."""
    torch.manual_seed(0)
    model, batch = LanguageModel(LSTM(16, 32, 2), LETTERS), a_batch(padded=False)
    found = []
    for length in (None, 4, 8):
        model.recompute = length
        with torch.autocast("cpu", torch.bfloat16):
            objective = model.losses(batch, None).objective
        found.append([objective.detach(), *torch.autograd.grad(objective, list(model.parameters()))])
    for other in found[1:]:
        for one, wanted in zip(other, found[0], strict=True):
            assert (one - wanted).norm() < 0.02 * wanted.norm()


def test_a_pass_may_be_taken_twice_or_not_at_all() -> None:
    """As with any graph that is retained; and without gradients nothing is kept."""
    torch.manual_seed(0)
    model, batch = made(GRU(6, 8)), a_batch(padded=False)
    model.recompute = 7
    objective = model.losses(batch, None).objective
    twice = [torch.autograd.grad(objective, model.head.weight, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(*twice)
    with torch.no_grad():
        assert not model.losses(batch, None).objective.requires_grad
    part = model.losses(batch._replace(targets=torch.full_like(batch.targets, IGNORE)), None)
    assert part.objective == 0
    part.objective.backward()
    assert not model.head.weight.grad.any()


def test_frozen_parts_get_no_gradient() -> None:
    torch.manual_seed(0)
    model, batch = made(GRU(6, 8), freeze=["embedding"]), a_batch(padded=False)
    whole = step(model, batch, None)[1]
    model.recompute = 6
    check_alike(step(model, batch, None)[1], whole)
    model.losses(batch, None).objective.backward()
    assert model.embedding.weight.grad is None


def test_logits_are_computed_once_more_and_not_thrice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass over many logits needs no gradients of them; values and gradients are the same."""
    monkeypatch.setattr(losses, "LOGITS", 10)
    torch.manual_seed(0)
    model, batch = made(GRU(6, 8)), a_batch(padded=True)
    (wanted, whole, _), learned = step(model, batch, None), []
    actual = losses._piece
    monkeypatch.setattr(losses, "_piece", lambda *given: learned.append(given[-1]) or actual(*given))
    model.recompute = 12
    found, gradients, _ = step(model, batch, None)
    assert_close(found.nats, wanted.nats)
    check_alike(gradients, whole)
    half = len(learned) // 3
    assert not any(learned[:half])
    assert all(learned[half + 1 :])


NETS: dict[str, Any] = {
    "Transformer": lambda: Transformer(8, 2, 2, context=64, dropout=0.3),
    "Hybrid": lambda: Hybrid(8, "LSTM,attention,GatedDeltaNet", num_heads=2, context=64, dropout=0.3),
}


@pytest.mark.parametrize("name", NETS)
def test_blocks(name: str) -> None:
    """With the masks of the first time; to the bit, also in bf16."""
    torch.manual_seed(0)
    model, batch = LanguageModel(NETS[name](), LETTERS).train(), a_batch(padded=True)
    for mixed in (False, True):
        found = []
        for given in (None, "blocks"):
            set_recompute(model, given)
            torch.manual_seed(5)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                objective = model.losses(batch, None).objective
            found.append([objective, *torch.autograd.grad(objective, list(model.parameters())), torch.get_rng_state()])
        for one, wanted in zip(*found, strict=True):
            assert torch.equal(one, wanted)


class Saved:
    """A tensor that a graph keeps, and the bytes that all of them have now and had at most."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Saved.now += tensor.nbytes
        Saved.most = max(Saved.most, Saved.now)

    def __del__(self) -> None:
        Saved.now -= self.tensor.nbytes


@pytest.mark.parametrize("given", [32, "blocks"])
def test_less_is_kept(given: int | str) -> None:
    """At the peak of a step, of what graphs keep."""
    torch.manual_seed(0)
    tokens, peaks = torch.randint(4, 12, (4, 512)), []
    model = LanguageModel(MinGRU(16, 32, 2) if given == 32 else Transformer(32, 6, 2), LETTERS)
    for setting in (given, None):
        set_recompute(model, setting)
        Saved.now = Saved.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            model.losses(Batch(tokens, tokens), None).objective.backward()
        peaks.append(Saved.most)
    assert peaks[0] < (0.15 if given == 32 else 0.35) * peaks[1]


@pytest.mark.parametrize(("network", "rows", "used"), [(LSTM(8, 16), 1, 1), (LSTM(8, 16), 2, 2), (MinGRU(8, 16), 1, 2)])
def test_a_single_row_of_a_recurrent_kernel_has_one_thread(network: Backbone, rows: int, used: int) -> None:
    """Several wait for one another at each position; beside another program that took most of the time."""
    model, seen = LanguageModel(network, LETTERS), list[int]()
    set_recompute(model, 5)
    model._losses = partial(_noting, model._losses, seen)  # type: ignore[method-assign]
    with threads(2):
        found = model.losses(a_batch(padded=False, rows=rows), None)
        assert torch.get_num_threads() == 2
        found.objective.backward()  # type: ignore[no-untyped-call]
        assert torch.get_num_threads() == 2
    assert seen == [used] * 9  # five pieces, then four of them again


def _noting(losses: Any, seen: list[int], *args: Any) -> Losses:
    seen.append(torch.get_num_threads())
    found: Losses = losses(*args)
    return found


def test_training_is_the_same(text_file: Path, tmp_path: Path) -> None:
    """In lanes with dropout, in its figures too; stopped and resumed, to the bit."""
    data, path = small_module(text_file, True), tmp_path / "part.safetensors"
    models = [small_model(data, dropout=0.2) for _ in range(3)]
    for model, given in zip(models, (None, 5, 5), strict=True):
        model.recompute = given
    for model in models[:2]:
        torch.manual_seed(1)
        train(model, data, 6, Record(4, path), precision="64-true")
    train(models[2], data, 6, resume=path, precision="64-true")
    for one, other, wanted in zip(*(model.parameters() for model in reversed(models)), strict=True):
        assert torch.equal(one, other)
        assert_close(other, wanted, rtol=0, atol=1e-9)
    figures = [validate(model, data.scored_batches("validation")) for model in models[:2]]
    assert figures[1] == pytest.approx(figures[0], abs=1e-9)


def test_accumulation_and_padding(tmp_path: Path) -> None:
    """A step of two batches of documents that are shorter than a window, or than a piece."""
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "{"abcab" * n}"}}\n' for n in (1, 4, 2, 7, 3, 5)))
    data = TextDataModule(str(tmp_path / "texts.jsonl"), length=32, batch_size=2, documents="apart", val_fraction=0.2)
    models = [small_model(data, dropout=0.2) for _ in range(2)]
    models[1].recompute = 6
    for model in models:
        torch.manual_seed(1)
        train(model, data, 4, accumulate_grad_batches=2, precision="64-true")
    for one, wanted in zip(*(model.parameters() for model in models), strict=True):
        assert_close(one, wanted, rtol=0, atol=1e-9)


def test_what_is_done_is_told() -> None:
    model = LanguageModel(LSTM(6, 8), LETTERS)
    assert set_recompute(model, 256, 4096) == "recompute 16 pieces of 256 positions"
    assert set_recompute(model, 256, 1000) == "recompute 4 pieces of 256 positions, the last of 232"
    assert set_recompute(model, 256) == "recompute pieces of 256 positions"
    assert model.recompute == 256
    assert set_recompute(model, 256, 128) == "recompute nothing: a window of 128 is no longer than a piece of 256"
    assert model.recompute is None
    near = LanguageModel(Hybrid(8, "LSTM,attention", num_heads=2, context=64), LETTERS)
    assert set_recompute(near, 64, 1024) == "recompute 16 pieces of 64 positions"
    assert set_recompute(near, "blocks", 1024) == "recompute 2 blocks, each by itself"
    assert near.backbone.recomputed
    assert near.recompute is None
    assert set_recompute(near, None) == ""
    assert not near.backbone.recomputed


TRANSLATOR = partial(Translator, GRU(4, 4), GRU(4, 4), LETTERS)
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "zero": (LSTM, 0, "expected a number of positions of at least 1, or blocks"),
    "word": (LSTM, "all", "expected a number of positions of at least 1, or blocks"),
    "no blocks": (LSTM, "blocks", "LSTM has no residual blocks; give a number of positions"),
    "far": (Transformer, 64, "attention reaches back 256 positions.*; give at least 256, or blocks"),
    "counts": (NGram, 4, "NGram counts"),
    "omega": (partial(LanguageModel, LSTM(4, 4), LETTERS, omega=1.0), 4, "second derivatives"),
    "sentences": (TRANSLATOR, 4, "pieces are those of a text, for language models"),
    "no blocks to translate": (TRANSLATOR, "blocks", "GRU has no residual blocks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, given, why = REFUSED[name]
    model = LanguageModel(make(), LETTERS) if isinstance(make, type) else make()
    with pytest.raises(InputError, match=f"recompute={given!r} was given.*{why}"):
        set_recompute(model, given, 1024)


def test_what_a_short_window_can_do() -> None:
    """Pieces as long as attention reaches would be no shorter than the window."""
    model = LanguageModel(Transformer(8, 1, 2), LETTERS)
    with pytest.raises(InputError, match=r"would hold; give blocks$"):
        set_recompute(model, 16, 64)


def test_fit_takes_it(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in a line, refused before a folder is made, recorded, and measured no farther than a piece."""
    data = TextDataModule(str(text_file), length=48, batch_size=2)
    runs = tmp_path / "runs"
    with pytest.raises(InputError, match="expected a whole number"):
        fit(small_model(data), data, max_steps=1, recompute=2.5, runs=runs)  # type: ignore[arg-type]
    given: dict[str, Any] = {"strategy": "fsdp", "devices": 2, "recompute": 16, "max_steps": 1, "runs": runs}
    with pytest.raises(InputError, match="was given with recompute by positions"):
        fit(small_model(data), data, **given)
    assert not runs.exists()
    run = fit(small_model(data), data, max_steps=1, validations=1, recompute=16, runs=runs)
    assert "\nrecompute 3 pieces of 16 positions\n" in capsys.readouterr().out
    assert "recompute: 16" in (run / "config.yaml").read_text()
    horizon = read_horizon(run / "gradient_horizon.csv")
    assert horizon[1]["x"].distances.max() < 16
