"""Steps of a language model run by onnxruntime, in memory of torch: what `decoding.stream` asks for.

Prompts are read by torch, whose state the first step goes on from.
"""

import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from seqmodels.batch import NEVER
from seqmodels.decoding import RowGenerators, Sampling, Steps
from seqmodels.environment import threads
from seqmodels.interop.onnx import cached_graph
from seqmodels.interop.onnx.graphs import StepGraph, example_states, flattened
from seqmodels.interop.onnx.writing import step_inputs, write_graph
from seqmodels.interop.optional import optional
from seqmodels.nn import Transformer
from seqmodels.nn.attention import KeysValues
from seqmodels.nn.transformer import ResidualStack
from seqmodels.state import State, map_state
from seqmodels.tasks.autoregressive_model import AutoregressiveModel

GROWTH = 128
"""Least number of slots by which a cache grows."""


def write_engine(model: AutoregressiveModel, path: Path, *, int8: bool = False) -> None:
    """Write the graph of a step that `OnnxEngine` runs.

    Raises:
        InputError: a library is missing, or the network cannot be written as a graph.
    """
    model = model.eval()
    if cached_graph.fits(model):
        inputs, outputs, axes = cached_graph.example(model)
        write_graph(path, cached_graph.CachedGraph(model), inputs, outputs, axes, int8=int8)
        return
    for padded in (False, True) if _attends(model) else (False,):
        before, after = example_states(model, padded)
        inputs, outputs, axes = step_inputs(model, before, after)
        write_graph(_graph(path, padded), StepGraph(model, after), inputs, outputs, axes, int8=int8)


def _attends(model: AutoregressiveModel) -> bool:
    """Whether rows that have read different numbers of tokens have another form of state."""
    return isinstance(model.backbone, ResidualStack)


def _graph(path: Path, padded: bool) -> Path:
    """The file of the graph for rows of different lengths."""
    return path.with_suffix(".padded.onnx") if padded else path


class OnnxEngine:
    """Generation by the graph that `write_engine` wrote, on the CPU: see `tasks.generation.Engine`.

    Args:
        model: on the CPU, in single precision.
        path: of the graph.

    Raises:
        InputError: onnxruntime is not installed.
    """

    def __init__(self, model: AutoregressiveModel, path: Path) -> None:
        self._runtime = optional("onnxruntime", "onnx", "--engine onnx")
        self._model, self._path = model, path
        self._sessions: dict[bool, Any] = {}

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Generator[list[int], Sequence[int] | None, None]:
        """See `Engine.drawing`."""
        drawing = self._model.drawing(ids, samples, sampling, max_tokens, rng, self.steps)
        staying, count = None, None  # prompts are read by all threads of torch
        while True:
            try:
                with threads(count):
                    tokens = drawing.send(staying)
            except StopIteration:
                return
            # From here on torch only draws. Its threads would wait for more on the cores that onnxruntime needs.
            count = 1
            staying = yield tokens

    def steps(self, state: State | None, rows: int) -> Steps:
        """Steps of so many rows, from a state, or from the start."""
        if cached_graph.fits(self._model):
            return CachedSteps(self._session(False), self._model, state, rows)
        padded = state is not None and _attends(self._model) and isinstance(state[1], Tensor)
        before, _ = example_states(self._model)
        if state is None:
            state = map_state(lambda tensor: tensor[:1].expand(rows, *tensor.shape[1:]), before)
        return StateSteps(self._session(padded), state, self._model.tokenizer.vocab_size)

    def _session(self, padded: bool) -> Any:
        if padded not in self._sessions:
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 3
            path = str(_graph(self._path, padded))
            self._sessions[padded] = self._runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self._sessions[padded]


def _bind(binding: Any, name: str, tensor: Tensor, *, output: bool = False) -> None:
    """Read an input from a tensor, or write an output into it."""
    kind = tensor.detach().numpy().dtype
    bind = binding.bind_output if output else binding.bind_input
    # An empty tensor may have no memory at all, which onnxruntime refuses.
    place = tensor.data_ptr() if tensor.numel() else _NOTHING.data_ptr()
    bind(name, "cpu", 0, kind, list(tensor.shape), place)


_NOTHING = torch.zeros(16, dtype=torch.float64)


class CachedSteps:
    """Steps over `CachedGraph`: the cache grows by copying, in between each step writes one slot.

    Args:
        session: of the graph.
        model: whose graph it is.
        state: before the first step; None at the start. Rows may differ in length.
        rows: number of rows.
    """

    def __init__(self, session: Any, model: AutoregressiveModel, state: State | None, rows: int) -> None:
        self._session, self._stack = session, cast(Transformer, model.backbone)
        self._vocabulary = model.tokenizer.vocab_size
        seen, key_positions, layers = cast(
            tuple[Tensor, State, tuple[KeysValues, ...]], self._stack.initial_state(rows) if state is None else state
        )
        self._seen = seen.clone()
        self._caches = [tensor.detach() for layer in layers for tensor in layer]
        kept = self._caches[0].shape[2]
        if isinstance(key_positions, Tensor):  # with padding, which is left out here
            real = key_positions >= 0
            order = real.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
            lengths = real.sum(1)
            places = order[:, None, :, None]
            self._caches = [cache.gather(2, places.expand_as(cache)) for cache in self._caches]
        else:
            lengths = torch.full((rows,), kept)
        self._lengths = lengths.to(torch.int32)
        self._longest = int(lengths.max())
        self._grow()

    def _grow(self) -> None:
        """Move the keys that are still seen to the front of larger caches, and bind all memory anew."""
        window, ends = self._stack.window, self._stack.position.ends
        rows = len(self._lengths)
        dropped = torch.zeros_like(self._lengths) if ends else (self._lengths - (window - 1)).clamp(min=0)
        kept = self._lengths - dropped
        most = int(kept.max())
        slots = most + max(GROWTH, most)
        slots = min(slots, ends) if ends else min(slots, max(2 * window, most + GROWTH))
        slots = max(slots, most + 1)
        places = (dropped[:, None] + torch.arange(most)).clamp(max=max(0, self._caches[0].shape[2] - 1))
        for number, cache in enumerate(self._caches):
            larger = cache.new_zeros(rows, cache.shape[1], slots, cache.shape[3])
            if most:
                chosen = places[:, None, :, None].expand(-1, cache.shape[1], -1, cache.shape[3])
                larger[:, :, :most] = cache.gather(2, chosen)
            self._caches[number] = larger
        self._lengths, self._longest, self._slots = kept.contiguous(), most, slots
        self._table()
        self._rebind()

    def _table(self) -> None:
        """What positions add and turn, for the tokens until the cache grows again."""
        room = self._slots - self._longest
        first, last = int(self._seen.min()), int(self._seen.max()) + room
        positions = torch.arange(first, last)
        ends = self._stack.position.ends
        table = cached_graph.position_inputs(self._stack, positions if ends is None else positions.clamp(max=ends - 1))
        self._first, self._rows_of_table = first, list(table)
        self._equal = int(self._seen.max()) == first

    def _rebind(self) -> None:
        rows = len(self._lengths)
        self._ids = torch.zeros(rows, dtype=torch.int64)
        self._total = torch.zeros(1, dtype=torch.int32)
        self._positions = [part[:1].repeat(rows, *[1] * (part.ndim - 1)) for part in self._rows_of_table]
        self._varies = [part.shape[-1] > 0 for part in self._rows_of_table]
        self._varies[0] = self._stack.position.vectors(torch.zeros(1, dtype=torch.int64)) is not None
        self._logits = torch.empty(rows, self._vocabulary, dtype=self._caches[0].dtype)
        self._binding = binding = self._session.io_binding()
        given = {"ids": self._ids, "lengths": self._lengths, "total": self._total}
        given |= dict(zip(("vectors", "cos", "sin"), self._positions, strict=True))
        known = {one.name for one in self._session.get_inputs()}
        for name, tensor in given.items():
            if name in known:  # an input that nothing depends on is left out of the graph
                _bind(binding, name, tensor)
        for number in range(len(self._caches) // 2):
            for place, kind in enumerate(("keys", "values")):
                cache = self._caches[2 * number + place]
                _bind(binding, f"{kind}_{number}", cache)
                _bind(binding, f"next_{kind}_{number}", cache, output=True)
        _bind(binding, "logits", self._logits, output=True)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V), which the next call overwrites."""
        if self._longest == self._slots:
            self._grow()
        self._ids.copy_(tokens)
        self._total.fill_(self._longest + 1)
        if any(self._varies):
            at = int(self._seen[0]) - self._first if self._equal else self._seen - self._first
            for held, table, varies in zip(self._positions, self._rows_of_table, self._varies, strict=True):
                if varies:
                    held.copy_(table[at])
        self._session.run_with_iobinding(self._binding)
        self._lengths += 1
        self._seen += 1
        self._longest += 1
        return self._logits

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._caches = [cache.index_select(0, rows) for cache in self._caches]
        self._lengths, self._seen = self._lengths[rows], self._seen[rows]
        self._longest = int(self._lengths.max())
        self._table()
        self._rebind()


class StateSteps:
    """Steps over `StepGraph`, for states of any kind, which go in and come out.

    Args:
        session: of the graph.
        state: before the first step.
        vocabulary: number of tokens.
    """

    def __init__(self, session: Any, state: State, vocabulary: int) -> None:
        self._session, self._vocabulary = session, vocabulary
        self._never = torch.tensor(NEVER)
        self._state = [tensor.detach().contiguous() for tensor in flattened(state)]
        self._names = [f"state_{number}" for number in range(len(self._state))]
        # Outputs of the form of the inputs are written to memory that is there already; others grow.
        self._fixed = all(all(type(size) is int for size in output.shape[1:]) for output in session.get_outputs()[1:])
        self._rebind()

    def _rebind(self) -> None:
        rows = len(self._state[0])
        self._ids = torch.zeros(rows, dtype=torch.int64)
        self._logits = torch.empty(rows, self._vocabulary, dtype=torch.float32)
        if not self._fixed:
            return
        other = [torch.empty_like(tensor) for tensor in self._state]
        self._ways = [self._bound(self._state, other), self._bound(other, self._state)]
        self._both = [other, self._state]
        self._turn = 0

    def _bound(self, state: list[Tensor], following: list[Tensor] | None) -> Any:
        binding = self._session.io_binding()
        _bind(binding, "ids", self._ids)
        _bind(binding, "logits", self._logits, output=True)
        known = {one.name for one in self._session.get_inputs()}
        for number, name in enumerate(self._names):
            if name in known:
                _bind(binding, name, state[number])
            if following is None:
                binding.bind_output(f"next_{name}", "cpu")
            else:
                _bind(binding, f"next_{name}", following[number], output=True)
        return binding

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V), which the next call overwrites."""
        self._ids.copy_(tokens)
        if self._fixed:
            self._session.run_with_iobinding(self._ways[self._turn])
            self._state = self._both[self._turn]
            self._turn = 1 - self._turn
        else:
            binding = self._bound(self._state, None)
            self._session.run_with_iobinding(binding)
            self._state = [torch.from_numpy(value.numpy()) for value in binding.get_outputs()[1:]]
        self._logits.index_fill_(1, self._never, -math.inf)
        return self._logits

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._state = [tensor.index_select(0, rows) for tensor in self._state]
        self._rebind()
