"""The contract that every network keeps.

Letters in shapes, here and everywhere: B rows of the batch, T positions in time, S positions of keys or of a
source, D features, H heads or hidden units, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqmodels.config import Recorded
from seqmodels.errors import InputError
from seqmodels.nn.trace import Trace
from seqmodels.state import State, first_tensor


class TokenIds(nn.Embedding):
    """The embedding of networks that read token ids themselves: each as its own number, int64 (..., 1)."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size, 1)
        del self.weight
        self.register_buffer("weight", torch.arange(vocab_size).unsqueeze(1), persistent=False)


class Backbone(Recorded, nn.Module, ABC):
    """A network as a function of inputs and state: `y, state = backbone(x, state)`.

    Training on a window, carrying the state across truncated BPTT, generating token by token, reordering beams and
    measuring gradients through time all are this one call. A state is a nested tuple of tensors, batch first, such as
    `(h, c)` for each layer of an LSTM; see `seqmodels.state`. `tests/test_laws.py` holds the laws of every network.
    """

    input_size: int
    """Features D of `x`."""
    output_size: int
    """Features D of `y`."""
    max_length: int | None = None
    """Maximum number of positions of a sequence, counted from its start; None for no limit."""
    causal: bool = True
    """Whether outputs depend on earlier inputs only. A network that is not causal reads a text as a whole: it takes no
    state and returns an empty one."""
    memory_size: int | None = None
    """Features of the memory that it attends to, such as an encoded source; None for networks without one."""
    learns: bool = True
    """Whether it learns by gradients; others count the training text by `count`."""

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.parameters()) if "_parameters" in vars(self) else 0
        return f"{super().__repr__()}  # {size:,} parameters"

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """Read T inputs, continuing from `state`.

        Args:
            x: inputs, (B, T, input_size).
            state: the state that an earlier call returned for the same rows, or None at the start.
            mask: bool (B, T), False at padding, which changes neither outputs nor state; None without padding.
            memory: the result of `remember`, for networks that attend to a source. It may have fewer rows than `x`:
                then consecutive rows of `x`, such as the beams of a sentence, share one.

        Returns:
            Outputs (B, T, output_size), zero at padding, and the state after the last position.
        """

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor) -> State:
        """Project an encoded source once, for all steps that will attend to it. The result is not part of the state.

        Args:
            source: outputs of the encoder, (B, S, memory_size).
            mask: bool (B, S), False at padding.
            summary: one vector per source, (B, memory_size).

        Returns:
            Tensors, batch first and nested like a state.

        Raises:
            InputError: the network attends to no memory.
        """
        raise InputError(f"{type(self).__name__} attends to no memory")

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """The same as `forward`, and the network's activations at each position."""
        y, state = self(x, state, mask=mask, memory=memory)
        return y, state, Trace(units={"1": y})

    def ends(self, vocab_size: int) -> tuple[nn.Module, nn.Module]:
        """What a language model puts before and behind it: the embedding of V tokens, and a layer to their logits."""
        return nn.Embedding(vocab_size, self.input_size), nn.Linear(self.output_size, vocab_size)

    def count(self, tokens: Tensor) -> None:
        """Take the counts of a training text, token ids (N,); nothing for networks that learn by gradients."""

    def take_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        """Give tensors whose sizes depend on a text those of saved ones, by name; nothing for most networks."""

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """One vector for each row, (B, output_size), from outputs (B, T, output_size): that of the last real position.

        The mask, bool (B, T), is False at padding.
        """
        last = torch.arange(1, y.shape[1] + 1, device=y.device).mul(mask).argmax(1)
        return y[torch.arange(len(y), device=y.device), last]

    def _check(self, x: Tensor, mask: Tensor | None, memory: State | None, state: State | None = None) -> None:
        """Refuse shapes that violate the contract before they fail inside a kernel."""
        name = type(self).__name__
        if x.ndim != 3 or x.shape[-1] != self.input_size or x.shape[1] == 0:
            raise InputError(f"{name} expects inputs (B, T, {self.input_size}) with T >= 1, got {tuple(x.shape)}")
        if mask is not None and mask.shape != x.shape[:2]:
            raise InputError(f"{name} expects a mask of shape {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
        if state is not None and not self.causal:
            raise InputError(f"{name} is not causal and reads a text as a whole; leave state=None")
        if memory is not None and self.memory_size is None:
            raise InputError(f"{name} attends to no memory; leave memory=None")
        if memory is None and self.memory_size is not None:
            raise InputError(f"{name} attends to a memory; give it the result of remember()")
        if memory is not None and len(x) % (sources := len(first_tensor(memory))):
            raise InputError(f"{name} expects a multiple of the {sources} rows of the memory, got {len(x)} rows")
