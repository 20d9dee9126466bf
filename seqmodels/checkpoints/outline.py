"""What the outline of a checkpoint would build, found out without building anything.

`torch.load(weights_only=True)` runs no code from a file, but believes what the file says of sizes: a few bytes may ask
for tensors that the file does not hold, or that reach beyond the bytes of their entry. So the outline is read here
first, one opcode after the other by the disassembler of the standard library, with a stack of descriptions in place of
values. Only what checkpoints of this package hold gets through: plain data, and dense tensors that lie within entries
of the file.
"""

import io
import itertools
import math
import pickletools
from dataclasses import dataclass
from typing import Any

from seqmodels.errors import InputError
from seqmodels.files import DEPTH

STEPS = 1_000_000
"""Most opcodes; a large Transformer with its optimiser has 50,000."""

ITEM_SIZES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip
ORDERED, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
CALLABLE = (ORDERED, TENSOR)
MARK = object()

Scalar = None | bool | int | float | str


@dataclass(slots=True)
class Thing:
    """A description of what is no scalar.

    Args:
        kind: dict, list, tuple, tensor, storage, or the name of a class or function.
        items: of a tuple, or the type and number of elements of a storage.
        nodes: how many values it would be, written out.
        depth: levels of things in it.
        names: keys of a dict.
        closed: it is a part of something else already, and so complete.
    """

    kind: str
    items: tuple[Any, ...] = ()
    nodes: int = 1
    depth: int = 0
    names: tuple[Any, ...] = ()
    closed: bool = False

    def take(self, parts: list[Any]) -> None:
        """Add parts, which are complete from now on, so that nothing can come to hold itself."""
        for part in parts:
            self.nodes += 1
            if isinstance(part, Thing):
                part.closed = True
                self.nodes += part.nodes
                self.depth = max(self.depth, part.depth + 1)


def check_outline(outline: bytes, sizes: dict[str, int]) -> None:
    """Refuse an outline that would build anything but plain data and tensors that the file holds.

    Args:
        outline: the bytes of the entry `data.pkl`.
        sizes: bytes of each entry of the file.

    Raises:
        InputError: it would, or it is none.
    """
    reading = _Reading(sizes)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(outline))):
            if number >= STEPS:
                raise InputError(f"it has more than {STEPS:,} steps")
            reading.step(opcode.name, argument)
    except (IndexError, KeyError, OverflowError, UnicodeError, ValueError) as error:
        why = error if isinstance(error, InputError) else "its steps do not fit one another"
        raise InputError(f"the outline of the file is refused: {why}") from error


class _Reading:
    """The machine that the opcodes are for, on descriptions."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[str, int]] = {}

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        match name:
            case "PROTO" if argument == 2:
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                self.stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                self.stack.append(Thing(name[6:].lower()))
            case "MARK":
                self.stack.append(MARK)
            case "TUPLE":
                self._tuple(self._marked())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._tuple(self._popped(int(name[5:])))
            case "APPEND":
                self._append(self._popped(1))
            case "APPENDS":
                self._append(self._marked())
            case "SETITEM":
                self._set(self._popped(2))
            case "SETITEMS":
                self._set(self._marked())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self._top()
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "GLOBAL":
                self._name(argument)
            case "BINPERSID":
                self._storage(self._popped(1)[0])
            case "REDUCE":
                self._call(*self._popped(2))
            case "BUILD":
                self._build(self._popped(1)[0])
            case "STOP":
                if len(self.stack) != 1:
                    raise InputError("it ends before it is complete")
            case _:
                raise InputError(f"the step {name} is not known")

    def _top(self) -> Any:
        if self.stack[-1] is MARK:
            raise InputError("its steps do not fit one another")
        return self.stack[-1]

    def _popped(self, count: int) -> list[Any]:
        parts = self.stack[-count:]
        if len(parts) < count or MARK in parts:
            raise InputError("its steps do not fit one another")
        del self.stack[-count:]
        return parts

    def _marked(self) -> list[Any]:
        parts = list(itertools.takewhile(lambda part: part is not MARK, reversed(self.stack)))[::-1]
        del self.stack[len(self.stack) - len(parts) - 1]
        return self._popped(len(parts)) if parts else []

    def _tuple(self, parts: list[Any]) -> None:
        made = Thing("tuple", tuple(parts))
        made.take(parts)
        self._check_size(made)
        self.stack.append(made)

    def _container(self, *kinds: str) -> Thing:
        found = self._top()
        if not isinstance(found, Thing) or found.kind not in kinds or found.closed:
            raise InputError("it would put something into what is no list or dict, or is complete already")
        return found

    def _append(self, parts: list[Any]) -> None:
        into = self._container("list")
        into.take(parts)
        self._check_size(into)

    def _set(self, parts: list[Any]) -> None:
        into = self._container("dict", ORDERED)
        keys = parts[::2]
        # Of other keys, many can be made that fall into one place of a dict.
        if len(parts) % 2 or not all(type(key) is str or (type(key) is int and abs(key) < 1 << 31) for key in keys):
            raise InputError("a dict has a key that is neither a string nor a small number")
        into.take(parts)
        into.names = (*into.names, *keys) if len(into.names) < 2 else into.names
        self._check_size(into)

    def _check_size(self, thing: Thing) -> None:
        if thing.depth > DEPTH:
            raise InputError(f"it is nested more than {DEPTH} levels deep")
        if thing.nodes > STEPS:
            raise InputError(f"it stands for more than {STEPS:,} values")

    def _name(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        if name not in CALLABLE and not (module == "torch" and attribute in ITEM_SIZES):
            raise InputError(f"it holds {name.replace(' ', '.', 1)!r:.100}, which is neither plain data nor a tensor")
        self.stack.append(Thing(name))

    def _storage(self, wanted: Any) -> None:
        """A storage by its number: it has to be as large as its entry, of one type only."""
        match wanted:
            case Thing(kind="tuple", items=("storage", Thing(kind=kind), str(key), str(), int(count))):
                _, _, kind = kind.partition(" ")
            case _:
                raise InputError("it asks for something that is no tensor's storage")
        if kind not in ITEM_SIZES or self.sizes.get(f"data/{key}") != count * ITEM_SIZES[kind]:
            raise InputError(f"it says that tensor {key!r:.20} has {count:,} elements, and the file holds others")
        if self.storages.setdefault(key, (kind, count)) != (kind, count):
            raise InputError(f"it gives tensor {key!r:.20} two types")
        self.stack.append(Thing("storage", (kind, count)))

    def _call(self, function: Any, arguments: Any) -> None:
        match function, arguments:
            case Thing(kind=kind), Thing(kind="tuple", items=()) if kind == ORDERED:
                self.stack.append(Thing(ORDERED))
            case (
                Thing(kind=kind),
                Thing(
                    items=(
                        Thing(kind="storage", items=(_, count)),
                        int(offset),
                        Thing(kind="tuple", items=shape),
                        Thing(kind="tuple", items=strides),
                        bool(),
                        Thing(kind=hooks, nodes=1),
                    )
                ),
            ) if kind == TENSOR and hooks == ORDERED:
                _check_view(count, offset, shape, strides)
                self.stack.append(Thing("tensor"))
            case _:
                raise InputError("it would call something in a way that no checkpoint does")

    def _build(self, state: Any) -> None:
        """A dict of weights says in its attribute `_metadata` of which version each module is."""
        into = self._container(ORDERED)
        if not (isinstance(state, Thing) and state.kind == "dict" and state.names == ("_metadata",)):
            raise InputError("it would set attributes of a dict")
        into.take([state])
        self._check_size(into)


def _check_view(count: int, offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> None:
    """A tensor has to lie within its storage, and to have no more elements."""
    if len(shape) != len(strides) or len(shape) > 16:
        raise InputError("a tensor's shape and strides do not fit one another")
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in (offset, *shape, *strides)):
        raise InputError("a tensor's shape is not made of numbers of at least 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > count or (math.prod(shape) and last >= count):
        raise InputError("a tensor reaches beyond what the file holds of it")
