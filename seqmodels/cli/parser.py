"""Command lines and files of settings into typed arguments.

Options are the parameters of functions and constructors. Settings are flat until they are converted: a network is the
name of its class, and its own arguments stand behind a dot, `{"backbone": "LSTM", "backbone.hidden_size": 64}`. Values
from a file have their type; from a command line, they are text.
"""

import difflib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from seqmodels.config import Recorded, class_path, construct, is_call, subclasses
from seqmodels.errors import InputError

Settings = dict[str, Any]
REQUIRED = inspect.Parameter.empty
SWITCHED = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Option:
    """A parameter of a function or constructor.

    Attributes:
        kind: its annotation.
        default: its default, or `REQUIRED`.
    """

    kind: Any
    default: Any = REQUIRED

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that it may have, None left out."""
        union = get_origin(self.kind) in (Union, UnionType)
        return tuple(kind for kind in (get_args(self.kind) if union else (self.kind,)) if kind is not NoneType)

    @property
    def nullable(self) -> bool:
        """Whether None is one of its types."""
        return self.kind is Any or NoneType in get_args(self.kind)

    @property
    def base(self) -> type[Recorded] | None:
        """The class of an option that is an object of this package, such as `Backbone`; None of plain values."""
        return next((kind for kind in self.kinds if isinstance(kind, type) and issubclass(kind, Recorded)), None)

    @property
    def repeated(self) -> bool:
        """Whether it takes a list, a string with each flag: `--stop END --stop STOP`."""
        return self.kinds == (list[str],)

    @property
    def several(self) -> bool:
        """Whether it takes a list, all of it behind one flag: `--data ONE OTHER`."""
        return not self.repeated and any(get_origin(kind) in (list, tuple) for kind in self.kinds)


Options = Mapping[str, Option]


def options_of(function: Callable[..., Any], skip: Iterable[str] = ()) -> dict[str, Option]:
    """The parameters of a function or class; of a constructor with `**others`, those of its base class, too."""
    found: dict[str, Option] = {}
    inits = (
        [vars(cls)["__init__"] for cls in function.__mro__ if "__init__" in vars(cls)]
        if isinstance(function, type)
        else [function]
    )
    for init in inits:
        hints, parameters = get_type_hints(init), inspect.signature(init).parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, Option(hints.get(parameter.name, Any), parameter.default))
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            break
    return {name: option for name, option in found.items() if name not in ("self", *skip)}


def flag(name: str) -> str:
    """The name of an option as people type it."""
    return f"--{name.replace('_', '-')}"


def read_flags(words: Sequence[str], options: Options, *, positional: bool = False) -> Settings:
    """The settings on a command line, as text.

    Flags may have dashes or underscores; switches stand alone, `--carry` and `--no-carry`, or have a value,
    `--carry=true`.

    Args:
        words: of the command line.
        options: that there are.
        positional: take the required ones in order, without flags.

    Raises:
        InputError: an option is not known, or has no value.
    """
    found, rest, waiting = Settings(), list[str](), list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, text = word[2:].partition("=")
        name = name.replace("-", "_")
        values = [text] if equals else []
        network, dot, inner = name.partition(".")
        option = options.get(network)
        if option is None and name.startswith("no_") and bool in options.get(name[3:], Option(None)).kinds:
            name, values = name[3:], ["false"]
        elif option is None or (dot and option.base is None):
            raise unknown(name, options)
        elif dot and not values:  # whose type depends on the network
            values = [waiting.pop(0)] if waiting and not waiting[0].startswith("--") else ["true"]
            if inner.startswith("no_") and values == ["true"]:
                name, values = f"{network}.{inner[3:]}", ["false"]
        elif bool in option.kinds and not values:
            values = [waiting.pop(0)] if waiting and waiting[0].lower() in (*SWITCHED, "null") else ["true"]
        elif option.several:
            while waiting and not waiting[0].startswith("--"):
                values.append(waiting.pop(0))
        elif not values and waiting and not waiting[0].startswith("--"):
            values = [waiting.pop(0)]
        if not values:
            raise InputError(f"{flag(name)} was given without a value; expected {flag(name)} VALUE")
        if option is not None and option.repeated:
            found[name] = [*found.get(name, ()), *values]
        elif option is not None and option.several and not dot and (len(values) > 1 or str not in option.kinds):
            found[name] = values
        else:
            found[name] = values[0]
    for name, option in options.items():
        if positional and option.default is REQUIRED and rest:
            found[name], rest = (rest, []) if option.repeated else (rest[0], rest[1:])
    if rest:
        raise InputError(f"{rest[0]!r} was not expected; --help lists the options")
    return found


def unknown(name: str, options: Options, prefix: str = "") -> InputError:
    """The error for an option that does not exist, with one that looks like it.

    Args:
        name: of the option.
        options: that exist.
        prefix: the network whose options they are, with a dot behind it.
    """
    networks = {one: option.base for one, option in options.items() if option.base}
    inner = [f"{one}.{own}" for one, base in networks.items() for cls in _concrete(base) for own in options_of(cls)]
    if "." in name.removeprefix(prefix):
        names = [one for one in inner if one.partition(".")[0] == name.partition(".")[0]]
    else:
        names = [f"{prefix}{one}" for one in options]
    ends = {one.rpartition(".")[2]: one for one in names}
    near = difflib.get_close_matches(name.rpartition(".")[2], ends, 1, 0.5)
    found = [ends[one] for one in near] or [one for one in inner if one.endswith(f".{name}")]
    hint = f"did you mean {flag(found[0])}?" if found else "--help lists the options"
    return InputError(f"the option {flag(name)} is not known; {hint}")


def over(lower: Settings, upper: Settings) -> Settings:
    """Settings over others: a network that is named anew takes nothing from the one below."""
    return {name: value for name, value in lower.items() if name.partition(".")[0] not in upper} | upper


def flat(arguments: Mapping[str, Any]) -> Settings:
    """Arguments of a constructor call, with networks as settings behind a dot."""
    found = Settings()
    for name, value in arguments.items():
        if is_call(value):
            inner = flat(value["init_args"]) if isinstance(value["init_args"], dict) else {"init_args": None}
            found |= {name: value["class_path"], **{f"{name}.{one}": given for one, given in inner.items()}}
        else:
            found[name] = value
    return found


def converted(settings: Settings, options: Options, prefix: str = "") -> Settings:
    """Arguments of the types that the options have; networks as constructor calls.

    Args:
        settings: that were given.
        options: that there are.
        prefix: the network whose options these are, with a dot behind it.

    Raises:
        InputError: an option is not known, or a value is not of its type.
    """
    found = Settings()
    for name, option in options.items():
        inner = {key.removeprefix(f"{name}."): value for key, value in settings.items() if key.startswith(f"{name}.")}
        if option.base is None and inner:
            raise unknown(f"{prefix}{name}.{next(iter(inner))}", options, prefix)
        if option.base is not None and (inner or (name in settings and str not in option.kinds)):
            found[name] = _network(f"{prefix}{name}", settings.get(name), inner, option)
        elif name in settings:
            found[name] = value_of(settings[name], option.kind, f"{prefix}{name}")
    if others := [name for name in settings if name.partition(".")[0] not in options]:
        raise unknown(f"{prefix}{others[0]}", options, prefix)
    return found


def check_complete(arguments: Settings, options: Options, *, positional: bool = False) -> None:
    """Refuse arguments that lack one that is required.

    Raises:
        InputError: it names the first.
    """
    for name, option in options.items():
        if option.default is REQUIRED and name not in arguments:
            raise InputError(f"{name.upper() if positional else flag(name)} was not given; --help describes it")


def _network(name: str, given: Any, inner: Settings, option: Option) -> Settings | None:
    """The constructor call of a network that was given by its class and arguments."""
    assert option.base is not None
    if not inner and given in (None, "null") and option.nullable:
        return None
    if given is None:
        first = flag(f"{name}.{next(iter(inner))}")
        raise InputError(f"{first} was given without a network; name it first, such as {flag(name)} LSTM {first}")
    cls = named(option.base, given)
    own = options_of(cls)
    for one in inner:
        if one.partition(".")[0] not in own and any(one in options_of(other) for other in _concrete(option.base)):
            raise InputError(
                f"the option {flag(f'{name}.{one}')} is not one of {cls.__name__}; --help lists what it takes"
            )
    return {"class_path": class_path(cls), "init_args": converted(inner, own, f"{name}.")}


KINDS = {"Backbone": "network", "SequenceTask": "task", "SequenceDataModule": "data module"}


def named(base: type[Any], name: Any) -> type[Any]:
    """The class of a name, or of a class path, among those that are imported.

    Raises:
        InputError: there is none; nothing is imported to find it.
    """
    known = {cls.__name__: cls for cls in _concrete(base)}
    paths = {class_path(cls): cls for cls in known.values()}
    if not isinstance(name, str) or name not in known | paths:
        near = difflib.get_close_matches(str(name), known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"the {KINDS.get(base.__name__, 'class')} {name!r:.100} is not known; choose one of "
            f"{', '.join(sorted(known))}, or import your own with --import MODULE{hint}"
        )
    return (known | paths)[name]


def _concrete(base: type[Any]) -> list[type[Any]]:
    return [cls for cls in subclasses(base) if not inspect.isabstract(cls)]


def value_of(given: Any, kind: Any, name: str) -> Any:
    """A value as one of a type.

    Args:
        given: the value, or its text.
        kind: the annotation.
        name: of the option.

    Raises:
        InputError: it is none.
    """
    option = Option(kind)
    if given is None and not option.nullable:
        raise InputError(f"{flag(name)} was given null; leave it out for its default")
    try:
        return _typed(given, kind)
    except (ValueError, TypeError):
        choices = [str(choice) for one in option.kinds if get_origin(one) is Literal for choice in get_args(one)]
        types = [one.__name__ if isinstance(one, type) else str(one) for one in option.kinds]
        expected = f"choose one of {', '.join(choices)}" if choices else f"expected {' or '.join(types)}"
        raise InputError(f"{flag(name)} was given {given!r:.200}; {expected}") from None


def _typed(given: Any, kind: Any) -> Any:
    """The value, or what its text stands for; a ValueError where it is of another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return given
    if origin in (Union, UnionType):
        for one in sorted(arguments, key=lambda one: one is str):  # which any text is
            try:
                return _typed(given, one)
            except (ValueError, TypeError):
                continue
    elif origin is Literal:
        for choice in arguments:
            if given in (choice, str(choice)):
                return choice
    elif kind is NoneType and given in (None, "null"):
        return None
    elif kind is bool and (isinstance(given, bool) or str(given).lower() in SWITCHED):
        return given if isinstance(given, bool) else SWITCHED[given.lower()]
    elif kind in (int, float) and not isinstance(given, bool) and isinstance(given, str | int | kind):
        number = kind(given)
        if math.isfinite(number):
            return number
    elif (origin or kind) in (list, tuple, dict):
        found = json.loads(given) if isinstance(given, str) else given
        if isinstance(found, dict) and (origin or kind) is dict:
            return found
        if isinstance(found, list) and (origin or kind) is not dict:
            return (origin or kind)(_typed(one, arguments[0] if arguments else Any) for one in found)
    elif isinstance(kind, type) and kind not in (bool, int, float, NoneType) and isinstance(given, kind):
        return given
    raise ValueError


def called(function: Callable[..., Any], words: Sequence[str], *, positional: bool = False) -> Any:
    """Call a function with the arguments on a command line, torch seeded by its argument `seed`.

    Args:
        function: whose parameters are the options.
        words: of the command line.
        positional: take the required ones in order, without flags.

    Raises:
        InputError: an option or a value is not known.
    """
    options = options_of(function)
    arguments = converted(read_flags(words, options, positional=positional), options)
    check_complete(arguments, options, positional=positional)
    seed_all(arguments.get("seed", options["seed"].default if "seed" in options else None))
    networks = {
        name: construct(arguments[name], option.base)
        for name, option in options.items()
        if option.base and arguments.get(name)
    }
    return function(**arguments | networks)


def seed_all(seed: int | None) -> None:
    """Seed torch, of which the first weights are drawn.

    Raises:
        InputError: the seed has more than 64 bits.
    """
    import torch

    if seed is None:
        return
    if not -(1 << 63) <= seed < 1 << 63:
        raise InputError(f"--seed was given {seed}; expected a number of at most 64 bits")
    torch.manual_seed(seed)


def given_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that were given; the others are left to the defaults of what takes them."""
    return {name: value for name, value in arguments.items() if value is not None}
