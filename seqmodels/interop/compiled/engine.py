"""Steps of a language model as machine code, in place of torch's: what `decoding.stream` asks for.

The code holds no weights: it is made once for all models of a form, and kept in the cache. Prompts are read by torch,
whose state the first step goes on from.
"""

import hashlib
import sys
import time
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqmodels.decoding import RowGenerators, Sampling, Steps
from seqmodels.environment import check_compiler, compiles
from seqmodels.errors import InputError
from seqmodels.interop.compiled.graphs import Kind, exported, kind_of, module_of
from seqmodels.interop.onnx.graphs import flattened
from seqmodels.nn.attention import KeysValues
from seqmodels.nn.key_cache import KeyCache
from seqmodels.nn.packing import lay_out
from seqmodels.nn.transformer import ResidualStack
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel

SETTINGS = {"aot_inductor.package_constants_in_so": False, "cpp.threads": 1}
"""Weights are not in the code; its own loops are too short for threads, products of torch have theirs."""
SOURCES = "nn", "interop/compiled", "tasks"
"""Folders of code that, changed, may make other steps."""


class CompiledEngine:
    """Generation by compiled steps: see `tasks.generation.Engine`.

    Args:
        model: on the CPU.

    Raises:
        InputError: it is not one whose steps are worth it.
        NoCompilerError: they have to be compiled, and there is no compiler, or it fails.
    """

    def __init__(self, model: AutoregressiveModel) -> None:
        self._kind: Kind = kind_of(model)
        if model.device.type != "cpu":
            raise InputError("compile was given on a GPU, where steps are recorded as a CUDA graph; leave it out")
        self._model = model
        lay_out(model)  # the code reads them as they lie
        self.code, self._weights = _loaded(model, self._kind)  # which the code does not keep alive

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Generator[list[int], Sequence[int] | None, None]:
        """See `Engine.drawing`."""
        return self._model.drawing(ids, samples, sampling, max_tokens, rng, self.steps)

    def steps(self, state: State | None, rows: int) -> Steps:
        """Steps of so many rows, from a state, or from the start."""
        network = cast(ResidualStack, self._model.backbone)
        start = network.initial_state(rows) if state is None else state
        if self._kind == "state":
            return StateSteps(self, start)
        if isinstance(cast(tuple[State, ...], start)[1], Tensor):  # rows of different lengths
            return self._model.steps(state, rows)
        return CachedSteps(self, network, start)


class StateSteps:
    """Steps with a state of fixed size."""

    def __init__(self, engine: CompiledEngine, state: State) -> None:
        self._engine, self._run = engine, engine.code.run  # the code does not keep its weights alive
        self._state = [tensor.detach().contiguous() for tensor in flattened(state)]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V)."""
        logits, *self._state = self._run([tokens.contiguous(), *self._state])
        return cast(Tensor, logits)

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._state = [tensor.index_select(0, rows) for tensor in self._state]


class CachedSteps:
    """Steps of a Transformer whose rows have all read the same number of positions, unpadded."""

    def __init__(self, engine: CompiledEngine, stack: ResidualStack, state: State) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._engine, self._run, self._window = engine, engine.code.run, stack.window
        self._cache = KeyCache([torch.cat(cache, 1) for cache in caches], stack.window)
        self._position = seen[:1] - 1

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V)."""
        if self._cache.reserve():
            self._sizes = torch.empty(self._cache.taken + self._cache.room + 2)
        self._position += 1
        count = min(self._cache.taken, self._window)
        seen, skipped = self._sizes[:count], self._sizes[: self._cache.taken - count + 2]
        (logits,) = self._run([tokens.contiguous(), self._position, seen, skipped, *self._cache.layers])
        return cast(Tensor, logits)

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._cache.select(rows)


def _loaded(model: AutoregressiveModel, kind: Kind) -> tuple[Any, dict[str, Tensor]]:
    """The code of a model's steps, compiled if it is not in the cache, with the weights of this model."""
    from seqmodels.data.cache import cache_folder, once  # with `datasets`, which takes a second

    path, began, made = cache_folder() / f"{_key(model, kind)}.json", time.perf_counter(), False

    def record(path: Path) -> dict[str, Any]:
        nonlocal made
        made = True
        check_compiler()
        print(f"compiling the steps of {model.name}, once ... ", end="", file=sys.stderr, flush=True)
        with compiles():
            compile_step(model, kind, path.with_suffix(".pt2"))
        return {"steps": model.name}

    once(path, record)
    code = torch._C._aoti.AOTIModelPackageLoader(str(path.with_suffix(".pt2")), "model", False, 1, -1)
    tensors = tensors_of(module_of(model, kind))
    code.load_constants({name: tensors[name] for name in code.get_constant_fqns()}, False, True, True, False)
    seconds = f"{time.perf_counter() - began:.1f} s"
    print(f"{seconds}, kept in {path.parent}" if made else f"compiled steps read in {seconds}", file=sys.stderr)
    return code, tensors


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, tied ones by each name."""
    named = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    return {name: tensor.detach() for part in named for name, tensor in part}


def compile_step(model: AutoregressiveModel, kind: Kind, path: Path) -> None:
    """Write the code of a model's steps to a file; its name ends in pt2."""
    part = path.with_name(f"{path.stem}.part.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own code, which a user cannot mend
        from torch._inductor import aoti_compile_and_package  # takes seconds

        settings = dict(SETTINGS)  # torch writes to it
        aoti_compile_and_package(exported(model, kind), package_path=str(part), inductor_configs=settings)
    part.replace(path)


def _key(model: AutoregressiveModel, kind: Kind) -> str:
    """A name of the code: equal where the same code is made for the same processor."""
    folders = (Path(__file__).parents[2] / folder for folder in SOURCES)
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    weights = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors_of(model).items()}
    head = type(model.head).__name__, getattr(model.head, "cap", None)
    form = [model.backbone.constructor_call, head, sorted(weights.items()), kind, SETTINGS]
    stamp = [torch.__version__, sorted(torch.cpu.get_capabilities().items()), repr(form), *map(Path.read_bytes, files)]
    return f"steps-{hashlib.sha256(repr(stamp).encode()).hexdigest()[:24]}"
