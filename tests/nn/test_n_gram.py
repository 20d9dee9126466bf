"""Kneser-Ney n-grams against a dictionary that counts them one by one, and against the laws of a network."""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from seqmodels import InputError, NGram
from seqmodels.batch import BOS
from seqmodels.nn import laws
from seqmodels.nn.n_gram_counts import discounts
from seqmodels.state import State

V = 12


class Slow:
    """The same probabilities, by the definition: a dictionary of continuations for each context."""

    def __init__(self, text: list[int], order: int) -> None:
        self.order, self.of = order, list[dict[tuple[int, ...], Counter[int]]]()
        self.taken: list[Callable[[int], float]] = []
        padded = [None, *text]
        for n in range(1, order + 1):
            if n == order:
                seen = Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
            else:  # different tokens before it, the start of the text being one
                longer = {tuple(padded[i : i + n + 1]) for i in range(len(padded) - n)}
                seen = Counter(gram[1:] for gram in longer)
            contexts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
            for gram, count in seen.items():
                if gram[-1] > BOS:
                    contexts[gram[:-1]][gram[-1]] = count
            self.of.append(contexts)
            counts = [count for own in contexts.values() for count in own.values()]
            found = {n: counts.count(n) for n in range(1, 5)}
            self.taken.append(partial(self.discount, found))

    @staticmethod
    def discount(found: dict[int, int], count: int) -> float:
        count = min(count, 3)
        if not (found[1] and found[2] and found[3]):
            return 0.5 * count
        y = found[1] / (found[1] + 2 * found[2])
        every = [n - (n + 1) * y * found[n + 1] / found[n] for n in (1, 2, 3)]
        return every[count - 1] if all(0 < d < n for n, d in enumerate(every, 1)) else 0.5 * count

    def p(self, context: tuple[int, ...], token: int) -> float:
        context = context[max(0, len(context) - self.order + 1) :]
        shorter = self.p(context[1:], token) if context else 1 / V
        own, taken = self.of[len(context)].get(context), self.taken[len(context)]
        if own is None:
            return shorter
        left = sum(taken(count) for count in own.values())
        return (own[token] - taken(own[token]) if token in own else 0.0) / own.total() + left / own.total() * shorter


def text_of(count: int, seed: int = 0) -> list[int]:
    """A text with many repetitions: documents of tokens that depend on the two before."""
    generator = torch.Generator().manual_seed(seed)
    text = [BOS, 4, 5]
    for number in range(count):
        choice = int(torch.randint(4, (), generator=generator))
        text.append(BOS if number % 97 == 96 else 2 + (3 * text[-1] + text[-2] + choice * choice) % (V - 2))
    return text


def network_of(text: list[int], order: int, memory: int = 0) -> NGram:
    network = NGram(order, memory).double()
    network.ends(V)
    network.count(torch.tensor(text, dtype=torch.int16))
    return network


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_as_a_dictionary_counts(order: int) -> None:
    text, other = text_of(900), [*text_of(60, 1), 11, 11, 11, 4, BOS, 4]
    slow, network = Slow(text, order), network_of(text, order)
    logs, _ = network(torch.tensor(other)[None, :, None])
    wanted = torch.tensor([[slow.p(tuple(other[: i + 1]), w) for w in range(V)] for i in range(len(other))])
    torch.testing.assert_close(logs[0].exp(), wanted.double(), atol=1e-12, rtol=1e-6)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(1, len(other), dtype=torch.float64))
    if order == 5:  # and it is the estimate that was tested, not what stands in for it
        assert discounts(network.counts_5).tolist() != [0.0, 0.5, 1.0, 1.5]


def test_a_text_that_is_too_short() -> None:
    """Contexts that never occurred, and discounts that cannot be estimated."""
    for text in ([BOS], [BOS, 5], [BOS, 5, 6, 5]):
        slow, network = Slow(text, 4), network_of(text, 4)
        logs, _ = network(torch.tensor([[5, 6, 5, 7]]).unsqueeze(-1))
        wanted = torch.tensor([[slow.p((5, 6, 5, 7)[: i + 1], w) for w in range(V)] for i in range(4)])
        torch.testing.assert_close(logs[0].exp(), wanted.double(), atol=1e-12, rtol=1e-6)


def tokens_in(network: NGram) -> Callable[..., tuple[Tensor, State]]:
    """The same network, with any numbers as tokens."""

    def read(x: Tensor, state: State | None = None, *, mask: Tensor | None = None) -> tuple[Tensor, State]:
        return network(4 + (x * 1e6).long().remainder(V - 4), state, mask=mask)

    return read


@pytest.mark.parametrize(("order", "memory"), [(1, 0), (3, 0), (5, 0), (1, 1), (3, 4), (5, 500)])
def test_laws(order: int, memory: int) -> None:
    torch.manual_seed(0)
    network = tokens_in(network_of(text_of(900), order, memory))
    x = torch.randn(laws.ROWS, laws.POSITIONS, 1).double()
    for law in (laws.chunk, laws.step, laws.causal, laws.reorder, laws.pad_then_go_on):
        assert law(network, x) == 0
    if order > 1:
        assert laws.sees(network, x) < 0.2  # another number may be the same token
    counts = [(3, 0, 2), (2, 3, 0)]
    for side in laws.SIDES.values():  # as `laws.pad`, without gradients, which tokens have not
        states: list[State | None] = [None, None]
        rows = [torch.randn(n, 1).double() for n in (5, 3, 2)]
        seen = [0, 0, 0]
        for lengths in counts:
            padded, mask = torch.full((3, 7, 1), 9.0).double(), torch.zeros(3, 7, dtype=torch.bool)
            for row, n in enumerate(lengths):
                where = list(side(n))
                padded[row, where], mask[row, where] = rows[row][seen[row] : seen[row] + n], True
            y, states[0] = network(padded, states[0], mask=mask)
            assert not y[~mask].any()
            for row, n in enumerate(lengths):
                alone = network(rows[row][None])[0][0, seen[row] : seen[row] + n]
                torch.testing.assert_close(y[row][mask[row]], alone, atol=0, rtol=0)
                seen[row] += n


def test_orders() -> None:
    with pytest.raises(InputError, match="order=0 was given"):
        NGram(0)
    with pytest.raises(InputError, match="memory=3 was given; expected 0, or at least the 4 tokens"):
        NGram(4, memory=3)


class SlowMemory(Slow):
    """A dictionary of the training text to which every token that is read is added, without a memory's end."""

    def __init__(self, text: list[int], order: int) -> None:
        super().__init__(text, order)
        padded = [None, *text]
        self.grams = {tuple(padded[i : i + n]) for n in range(1, order + 2) for i in range(len(padded) - n + 1)}

    def read(self, text: list[int]) -> None:
        """Count the last token of a text."""
        for n in range(1, min(self.order, len(text)) + 1):
            gram = tuple(text[-n:])
            longer = ("start", *gram) if n == len(text) else tuple(text[-n - 1 :])
            if (n == self.order or longer not in self.grams) and gram[-1] > BOS:
                self.of[n - 1][gram[:-1]][gram[-1]] += 1
        self.grams |= {tuple(text[-n:]) for n in range(1, min(self.order, len(text)) + 1)}


@pytest.mark.parametrize("order", [1, 2, 4])
def test_memory_counts_what_is_read(order: int) -> None:
    text, other = text_of(300), [*text_of(200, 1), 11, 11, 11, 11, 4, BOS, 4, *text_of(50, 1)]
    slow, network = SlowMemory(text, order), network_of(text, order, 400)
    logs, _ = network(torch.tensor(other)[None, :, None])
    for i in range(len(other)):
        slow.read(other[: i + 1])
        wanted = torch.tensor([slow.p(tuple(other[: i + 1]), w) for w in range(V)])
        torch.testing.assert_close(logs[0, i].exp(), wanted.double(), atol=1e-12, rtol=1e-6)
    assert (network_of(text, order)(torch.tensor(other)[None, :, None])[0] - logs).abs().max() > 0.01
