"""Networks of one's own: a module of the form `(x, state) -> (y, state)` as a backbone, and the check of the laws."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels import LanguageModel, TextDataModule, fit, load
from seqmodels.batch import Batch
from seqmodels.errors import InputError
from seqmodels.nn import as_backbone, check_network
from seqmodels.state import select


class Decaying(nn.Module):
    """A moving average with a learned start: not zeros, so that rows without a past show."""

    def __init__(self, input_size: int = 6, hidden_size: int = 8) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.value = nn.Linear(input_size, hidden_size)
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)
        self.start = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = self.start.expand(len(x), -1) if state is None else state
        outputs = []
        for z in self.value(x).unbind(1):
            h = torch.tanh(z + self.recurrent(h))
            outputs.append(h)
        return torch.stack(outputs, 1), h


Own = as_backbone(Decaying)


def test_a_good_module_keeps_all_laws() -> None:
    for network in (Decaying(), Own(), Own(3, 5)):
        before = {name: p.clone() for name, p in network.named_parameters()}
        found = check_network(network)
        assert set(found) == {"state", "chunk", "step", "causal", "sees", "reorder", "pad"}
        assert max(found.values()) < 1e-7
        assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_the_check_draws_from_no_generator_of_the_caller() -> None:
    network = Own()
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    check_network(network)
    assert torch.equal(torch.rand(2), wanted)


class Peeking(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x + x.mean(1, keepdim=True), state)


class PeekingOnce(Decaying):
    """At one position alone."""

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h = super().forward(x, state)
        if x.shape[1] > 6:
            y[:, 5, 0] += x[:, 6, 0]
        return y, h


class Forgetting(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x)


class Mixing(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x + x.mean(0, keepdim=True), state)


class Late(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        before, h = (x[:, :1] * 0, None) if state is None else state
        y, h = super().forward(torch.cat([before, x[:, :-1]], 1), h)
        return y, (x[:, -1:], h)


class Careless(Decaying):
    """Reads padding as if it were text."""

    def forward(self, x: Tensor, state: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x, state)


class Listed(Decaying):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, h = super().forward(x, None if state is None else state[0])
        return y, [h]


class Dividing(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h = super().forward(x, state)
        return y / 0, h


class Failing(Decaying):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1] == 1:
            raise KeyError("one step")
        return super().forward(x, state)


@pytest.mark.parametrize(
    ("network", "law"),
    [
        (Peeking(), "causal by"),
        (PeekingOnce(), "causal by"),
        (Forgetting(), "chunk by"),
        (Mixing(), "reorder by"),
        (Late(), "sees by 1: "),
        (Careless(), "pad by"),
        (Listed(), "state: .*the state has a list, expected tensors in tuples"),
        (Dividing(), "state: .*outputs are not finite"),
        (Failing(), "step: .*it raised KeyError"),
        (as_backbone(Peeking)(), "Peeking breaks .*causal by"),
        (nn.LSTM(6, 8, batch_first=True), r"state: .*\(1, 3, 8\), expected 3 rows first"),
        (nn.Linear(6, 8), "state: .*it raised|state: .*it returned"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_broken_law_is_named(network: nn.Module, law: str) -> None:
    with pytest.raises(InputError, match=law) as caught:
        check_network(network, input_size=6)
    assert "\n" not in str(caught.value)


def test_only_what_is_broken_is_named() -> None:
    with pytest.raises(InputError, match=r"^Careless breaks pad by [0-9.e+-]+: padding changes no real position"):
        check_network(Careless())


def test_what_cannot_be_checked_is_refused() -> None:
    from seqmodels.nn import Transformer

    for network, says in (
        (Decaying, "expected a network, such as"),
        (nn.Linear(6, 8), "has no attribute input_size; give"),
        (Transformer(8, causal=False), "is not causal"),
        (Transformer(8, memory_size=4), "attends to a memory"),
        (Transformer(8, context=5, positions="learned"), "end at 5"),
    ):
        with pytest.raises(InputError, match=says):
            check_network(network)  # type: ignore[arg-type]


class Single(Decaying):
    """Makes its state in single precision, whatever the inputs are."""

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x, torch.zeros(len(x), self.output_size) if state is None else state)


def test_a_module_in_single_precision_is_checked_in_it() -> None:
    assert check_network(Single())["chunk"] < 1e-4


def test_rows_that_have_read_nothing_stay_at_the_start() -> None:
    """A row of padding alone keeps the start, which is not zeros; a beam may copy it."""
    network = Own().double()
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    mask = torch.tensor([[True] * 4, [False] * 4, [False, True, True, False]])
    _, state = network(x, mask=mask)
    unread, _ = state
    assert unread.tolist() == [False, True, False]
    more, state = network(x, select(state, torch.tensor([1, 1, 0])))
    torch.testing.assert_close(more[:2], network(x[:2])[0])
    torch.testing.assert_close(more[2:], network(x[2:], network(x[:1])[1])[0])
    assert state[0] == ()
    y, (unread, own) = network(x, mask=torch.zeros(3, 4, dtype=torch.bool))
    assert unread.all()
    assert own == ()
    assert (y == 0).all()
    assert network(x, (unread, own))[0].equal(network(x)[0])


class Caching(nn.Module):
    """Its state grows."""

    input_size = output_size = 6

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept = x if state is None else torch.cat([state, x], 1)
        return kept.cumsum(1)[:, -x.shape[1] :], kept


def test_a_state_that_grows_needs_a_mask_of_its_own() -> None:
    with pytest.raises(InputError, match=r"grows with the positions.*mask=None"):
        as_backbone(Caching)()(torch.zeros(2, 3, 6), mask=torch.tensor([[True] * 3, [True, False, False]]))


def test_what_is_no_module_class_is_refused() -> None:
    class Sizeless(nn.Module):
        pass

    class Wide(Decaying):
        def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y, h = super().forward(x, state)
            return torch.cat([y, y], 2), h

    for wrong, says in ((Decaying(), "expected a class of modules, here Decaying"), (3, "expected a class of modules")):
        with pytest.raises(InputError, match=says):
            as_backbone(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"set self.input_size and self.output_size"):
        as_backbone(Sizeless)()
    with pytest.raises(InputError, match=r"returned outputs \(2, 3, 16\); expected \(2, 3, 8\)"):
        as_backbone(Wide)()(torch.zeros(2, 3, 6))
    with pytest.raises(InputError, match="as_backbone"):
        LanguageModel(Decaying(), TextDataModule("python").tokenizer)  # type: ignore[arg-type]


def test_it_trains_is_saved_and_generates(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the fox ran after the hare\n" * 100)
    data = TextDataModule(str(text), length=8, batch_size=4, carry=True)
    model = LanguageModel(Own(6, 8), data.tokenizer)
    run = fit(model, data, max_steps=3, validations=1, runs=tmp_path, diagnostics=False)
    trained = load(run)
    assert trained.constructor_call["init_args"]["backbone"]["init_args"] == {"input_size": 6, "hidden_size": 8}
    texts = trained.generate_batch(["", "the fox"], max_tokens=5, seed=1)
    alone = "".join(trained.generate("", max_tokens=5, seed=1))
    assert texts[0] == [alone]  # whose row was padding while the other prompt was read


def test_token_ids_give_logits_and_a_state() -> None:
    data = TextDataModule(str(Path(__file__)), length=8)
    model = LanguageModel(Own(6, 8), data.tokenizer).eval()
    ids = torch.randint(4, data.tokenizer.vocab_size, (2, 7))
    logits, _state = model(ids)
    assert logits.shape == (2, 7, data.tokenizer.vocab_size)
    first, half = model(ids[:, :3])
    rest, _end = model(ids[:, 3:], half)
    torch.testing.assert_close(torch.cat([first, rest], 1), logits)
    assert logits.equal(model(Batch(ids, ids))[0])
    for wrong, says in (
        (ids[0], r"\(7,\).*expected token ids \(B, T\)"),
        (ids.float(), "float32.*expected token ids"),
        (ids + 1000, f"expected ids from 0 to {data.tokenizer.vocab_size - 1}"),
        ([1, 2], "list.*expected token ids"),
    ):
        with pytest.raises(InputError, match=says):
            model(wrong)
