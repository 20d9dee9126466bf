"""The laws of a network, measured: by how much chunk, step, causal, reorder, pad and twin are broken."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.adapted import read
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell
from seqmodels.state import State, map_state, select

ROWS, POSITIONS = 3, 9
"""Rows B and positions T of the inputs that laws are measured on."""

LAWS = {
    "state": "the state is a nested tuple of tensors, batch first, and outputs are (B, T, output_size) and finite",
    "chunk": "in pieces with the state carried = in one piece",
    "step": "one position at a time = all at once",
    "causal": "the output at a position does not change when later inputs do",
    "sees": "the output at a position changes when the input there does",
    "reorder": "select rows, then go on = go on, then select rows",
    "pad": "padding changes no real position, no state and no gradient, and its outputs are zero",
    "twin": "the kernel or scan of a cell = its equation",
}
"""What each law says."""

Network = Callable[..., tuple[Tensor, State]]


def deviation(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a fraction of 1 + the wanted size; infinite where shapes differ or one is NaN."""
    if found.shape != wanted.shape:
        return math.inf
    difference = ((found - wanted).abs() / (1 + wanted.abs())).detach().masked_fill(found == wanted, 0)
    return float(difference.nan_to_num(math.inf).max()) if difference.numel() else 0.0


def state_deviation(found: State, wanted: State) -> float:
    """The same of states, infinite where they are nested differently."""
    most = [0.0]

    def compare(a: Tensor, b: Tensor) -> Tensor:
        most.append(deviation(a.double(), b.double()))
        return a

    try:
        map_state(compare, found, wanted)
    except (ValueError, TypeError, AttributeError):
        return math.inf
    return max(most)


def chunk(network: Network, x: Tensor) -> float:
    """In pieces with the state carried, and from there on. Inputs (B, 9, D)."""
    whole, end = network(x)
    pieces, state = [], None
    for piece in torch.split(x, [2, 1, 4, 2], 1):
        y, state = network(piece, state)
        pieces.append(y)
    more = torch.randn_like(x)
    return max(deviation(torch.cat(pieces, 1), whole), deviation(network(more, state)[0], network(more, end)[0]))


def step(network: Network, x: Tensor) -> float:
    """One position at a time."""
    whole, _ = network(x)
    state, steps = None, []
    for t in range(x.shape[1]):
        y, state = network(x[:, t : t + 1], state)
        steps.append(y)
    return deviation(torch.cat(steps, 1), whole)


def causal(network: Network, x: Tensor) -> float:
    """Outputs before a change of the inputs."""
    whole, _ = network(x)
    return max(deviation(network(y)[0][:, :t], whole[:, :t]) for t, y in _changed(x))


def sees(network: Network, x: Tensor) -> float:
    """The fraction of positions whose output does not change with the input there."""
    whole, _ = network(x)
    blind = [torch.allclose(network(y)[0][:, t], whole[:, t]) for t, y in _changed(x)]
    return sum(blind) / len(blind)


def _changed(x: Tensor) -> list[tuple[int, Tensor]]:
    """The inputs with others from position t on, for each t from 1."""
    found = []
    for t in range(1, x.shape[1]):
        changed = x.clone()
        changed[:, t:] += torch.randn_like(changed[:, t:])
        found.append((t, changed))
    return found


def reorder(network: Network, x: Tensor) -> float:
    """Other rows, one of them twice, in outputs and states."""
    rows = torch.tensor([2, 0, 2, 1])
    _, state = network(x)
    more = torch.randn_like(x)
    y, end = network(more, state)
    selected, selected_end = network(more[rows], select(state, rows))
    return max(deviation(selected, y[rows]), state_deviation(selected_end, select(end, rows)))


SIDES: dict[str, Callable[[int], range]] = {
    "left": lambda n: range(7 - n, 7),
    "right": lambda n: range(n),
    "inside": lambda n: range(1, 2 * n, 2),
}
"""Where n real positions of seven stand."""


def pad(network: Network, x: Tensor, side: str, parameters: list[nn.Parameter]) -> float:
    """Rows of 5, 0 and 2 positions padded to 7, twice in a row, as if each had been alone; in gradients too.

    Args:
        network: the network.
        x: any inputs of its size.
        side: of the padding, a key of `SIDES`.
        parameters: of the network; those that need a gradient are compared.
    """
    counts = [(3, 0, 2), (2, 3, 0)]
    parts = [[x.new_empty(n, x.shape[2]).normal_() for n in chunk] for chunk in counts]
    alone = [network(torch.cat([parts[0][row], parts[1][row]])[None])[0][0] for row in range(3)]
    state: State | None = None
    together, inputs, most = [list[Tensor]() for _ in range(3)], list[tuple[Tensor, Tensor]](), [0.0]
    for chunk, tensors in zip(counts, parts, strict=True):
        padded, mask = x.new_full((3, 7, x.shape[2]), 9.0), torch.zeros(3, 7, dtype=torch.bool)
        for row, n in enumerate(chunk):
            where = list(SIDES[side](n))
            padded[row, where], mask[row, where] = tensors[row], True
        inputs.append((padded.requires_grad_(), mask))
        y, state = network(padded, state, mask=mask)
        most.append(float(y[~mask].detach().abs().max()))
        for row in range(3):
            together[row].append(y[row][mask[row]])
    joined = [torch.cat(row) for row in together]
    most += [deviation(a, b) for a, b in zip(joined, alone, strict=True)]
    if math.inf in most:
        return math.inf
    weights = [torch.randn_like(row) for row in alone]
    needed = [p for p in parameters if p.requires_grad]

    def gradients(rows: list[Tensor], of: list[Any]) -> tuple[Tensor, ...]:
        loss = torch.stack([(a * w).sum() for a, w in zip(rows, weights, strict=True)]).sum()
        return torch.autograd.grad(loss, of, allow_unused=True, materialize_grads=True) if of else ()

    wanted = gradients(alone, needed)
    found = gradients(joined, needed + [padded for padded, _ in inputs])
    most += [deviation(a, b) for a, b in zip(found, wanted, strict=False)]
    of_inputs = zip(found[len(needed) :], inputs, strict=True)
    return max(most + [float(gradient[~mask].abs().max()) for gradient, (_, mask) in of_inputs])


def pad_then_go_on(network: Network, x: Tensor) -> float:
    """After left padding, single steps without a mask continue each row alone: how prompts are completed."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[0, :4] = mask[1, :7] = False
    _, state = network(x, mask=mask)
    more = torch.randn_like(x[:, :1])
    for _ in range(3):
        y, state = network(more, state)
    most = 0.0
    for row in range(len(x)):
        own = torch.cat([x[row][mask[row]], more[row], more[row], more[row]])
        most = max(most, deviation(y[row, -1], network(own[None])[0][0, -1]))
    return most


def fast_cells(network: nn.Module) -> list[Cell]:
    """Cells that compute a sequence in another way than by their equation."""
    cells = [module for module in network.modules() if isinstance(module, Cell)]
    return [cell for cell in cells if type(cell).sequence is not Cell.sequence]


def twin(cell: Cell, rows: int = ROWS, positions: int = POSITIONS, lengths: list[int] | None = None) -> float:
    """The kernel or the scan against the cell's own equation, in values and in gradients.

    With `lengths`, only so many leading positions of each row are real.
    """
    counts = None if lengths is None else torch.tensor(lengths)
    new = partial(torch.randn, dtype=next(cell.parameters()).dtype, requires_grad=True)
    x = new(rows, positions, cell.input_size)
    state = tuple(new(rows, *shape) for shape in cell.state_shapes)
    real = torch.ones(rows, positions) if counts is None else (torch.arange(positions) < counts[:, None])
    weights: list[Tensor] = []
    results = []
    for path in (cell.sequence, partial(Cell.sequence, cell)):
        y, end = path(x, state, counts)
        tensors = (y * real.unsqueeze(-1), *end)
        weights = weights or [torch.randn_like(tensor) for tensor in tensors]
        loss = torch.stack([(w * tensor).sum() for w, tensor in zip(weights, tensors, strict=True)]).sum()
        inputs = [x, *state, *cell.parameters()]
        results.append([*tensors, *torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)])
    return max(deviation(fused, equation) for fused, equation in zip(*results, strict=True))


def check_network(network: nn.Module, input_size: int | None = None) -> dict[str, float]:
    """Check a network against the laws, on random inputs in evaluation mode; the network itself is not changed.

    A copy is measured, in double precision where its code allows, with noise added to its weights, since zeros can hide
    a mistake. A law holds up to 1e-7 (1e-4 in single precision), relative to 1 + the size of the outputs.

    Args:
        network: `y, state = network(x, state)`: a `Backbone`, or any module of that form, to which `as_backbone` adds
            padding.
        input_size: features D of its inputs, if it has no attribute of that name.

    Returns:
        The largest deviation from each law, by its name; `LAWS` says what they are.

    Raises:
        InputError: laws are broken; the message names each, by how much, and what it says. Or the network is not
            causal, or attends to a memory.
    """
    name = type(network).__name__
    if isinstance(network, type) or not isinstance(network, nn.Module):
        raise InputError(f"check_network was given {network!r:.60}; expected a network, such as MyNetwork(8, 16)")
    if not getattr(network, "causal", True) or getattr(network, "memory_size", None) is not None:
        raise InputError(f"{name} is not causal or attends to a memory; the laws are of causal networks without one")
    if not getattr(network, "learns", True):
        raise InputError(f"{name} counts tokens, and the laws are measured on vectors; compare it with its counts")
    size = getattr(network, "input_size", None) if input_size is None else input_size
    if not isinstance(size, int):
        raise InputError(f"{name} has no attribute input_size; give check_network(network, input_size=...)")
    if (longest := getattr(network, "max_length", None)) is not None and longest < 2 * POSITIONS:
        raise InputError(f"the positions of {name} end at {longest}; build it for {2 * POSITIONS} to check it")
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        measured, x = _copy(network, size)
        found = _measured(measured, x)
    usual = 1e-7 if x.dtype == torch.float64 else 1e-4
    broken = [
        f"{law}{_by(value)}: {LAWS[law]}{why}"
        for law, (value, why) in found.items()
        if not value <= {"causal": usual / 1e5 if x.dtype == torch.float64 else usual, "sees": 0}.get(law, usual)
    ]
    if broken:
        kept = "" if len(broken) == 1 else f"{len(broken)} laws: "
        raise InputError(f"{name} breaks {kept}{'; '.join(broken)}")
    return {law: value for law, (value, _) in found.items()}


def _by(value: float) -> str:
    return f" by {value:.2g}" if math.isfinite(value) else ""


def _copy(network: nn.Module, size: int) -> tuple[nn.Module, Tensor]:
    """A copy on the CPU with noise on its weights, and inputs for it."""
    for dtype in (torch.float64, torch.float32):
        made = copy.deepcopy(network).to("cpu", dtype).eval()
        x = torch.randn(ROWS, POSITIONS, size, dtype=dtype)
        noisy = copy.deepcopy(made)
        with torch.no_grad():
            for parameter in noisy.parameters():
                if parameter.is_floating_point():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        try:
            return (noisy if bool(noisy(x)[0].isfinite().all()) else made), x
        except Exception:  # it makes tensors in single precision itself; or it fails in any, as `_measured` will say
            continue
    return made, x


def _measured(network: nn.Module, x: Tensor) -> dict[str, tuple[float, str]]:
    """The deviation from each law, and what else there is to say about it."""
    try:
        problem = _problem(network, x)
    except Exception as error:  # of any code
        problem = f"it raised {type(error).__name__}, {error}"
    if problem:
        return {"state": (math.inf, f"; {' '.join(problem.split())}")}
    size = network(x)[0].shape[2]
    padded: Network = network
    if not isinstance(network, Backbone):
        padded = lambda x, state=None, mask=None: read(network, size, x, state, mask)  # noqa: E731
    parameters = list(network.parameters())
    laws: dict[str, list[Callable[[], float]]] = {}
    for law in (chunk, step, causal, sees, reorder):
        laws[law.__name__] = [partial(law, network, x)]
    laws["pad"] = [partial(pad, padded, x, side, parameters) for side in SIDES]
    laws["pad"].append(partial(pad_then_go_on, padded, x))
    if cells := fast_cells(network):
        laws["twin"] = [partial(twin, cell, lengths=counts) for cell in cells for counts in (None, [9, 0, 4])]
    found: dict[str, tuple[float, str]] = {"state": (0.0, "")}
    for name, checks in laws.items():
        try:
            found[name] = max(check() for check in checks), ""
        except Exception as error:  # a law that cannot be tried does not hold
            found[name] = math.inf, f"; it raised {type(error).__name__}, {' '.join(str(error).split())[:200]}"
    return found


def _problem(network: nn.Module, x: Tensor) -> str:
    """What is wrong with the form of outputs and state; empty if nothing is."""
    result = network(x)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        return f"it returned a {type(result).__name__}, expected outputs and state"
    y, state = result
    size = getattr(network, "output_size", None)
    if y.ndim != 3 or y.shape[:2] != x.shape[:2] or size not in (None, y.shape[2]):
        return f"outputs are {tuple(y.shape)}, expected ({len(x)}, {x.shape[1]}, {size or 'D'})"
    if not y.isfinite().all():
        return "outputs are not finite"
    return _wrong(state, len(x)) or ""


def _wrong(state: Any, rows: int) -> str | None:
    if isinstance(state, Tensor):
        fits = state.ndim > 0 and len(state) == rows
        return None if fits else f"the state has a tensor of shape {tuple(state.shape)}, expected {rows} rows first"
    if not isinstance(state, tuple):
        return f"the state has a {type(state).__name__}, expected tensors in tuples"
    return next((wrong for part in state if (wrong := _wrong(part, rows))), None)
