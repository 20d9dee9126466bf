"""Command lines and files of settings into typed arguments.

Options are the parameters of functions and constructors. Settings are flat until they are converted: a network is the
name of its class, and its own arguments stand behind a dot, `{"backbone": "LSTM", "backbone.hidden_size": 64}`. Values
from a file have their type; from a command line, they are text.
"""

import contextlib
import difflib
import inspect
import json
import math
import random
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from seqmodels.cli.synonyms import ours
from seqmodels.config import Recorded, class_path, construct, is_call, subclasses
from seqmodels.errors import InputError

Settings = dict[str, Any]
SWITCHED = {"true": True, "yes": True, "false": False, "no": False}
NOTHING = (None, "null")
ONE_DASH = re.compile(r"-[A-Za-z]\w")
"""The start of an option in programs whose options have one dash, as those of Torch 7 do."""


@dataclass(frozen=True)
class Option:
    """A parameter of a function or constructor, with its annotation."""

    kind: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def kinds(self) -> tuple[Any, ...]:
        """Its types."""
        return get_args(self.kind) if get_origin(self.kind) in (Union, UnionType) else (self.kind,)

    @property
    def base(self) -> type[Recorded] | None:
        """The class of an option that is an object of this package, such as `Backbone`; None for plain values."""
        return next((kind for kind in self.kinds if isinstance(kind, type) and issubclass(kind, Recorded)), None)

    @property
    def is_switch(self) -> bool:
        """Whether its flag needs no value."""
        return bool in self.kinds

    @property
    def is_repeated(self) -> bool:
        """Whether its flag is given once for each string: `--stop END --stop STOP`."""
        return list[str] in self.kinds and str not in self.kinds


Options = Mapping[str, Option]


def options_of(function: Callable[..., Any], skip: Sequence[str] = ()) -> dict[str, Option]:
    """The parameters of a function or class; with `**others`, those of the constructor of the base class, too."""
    found: dict[str, Option] = {}
    classes = function.__mro__ if isinstance(function, type) else ()
    for init in [vars(cls)["__init__"] for cls in classes if "__init__" in vars(cls)] or [function]:
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

    Flags may have dashes or underscores. Switches need no value: `--carry`, `--no-carry`, `--carry=true`.

    Args:
        words: of the command line.
        options: by name.
        positional: read required options, and one called `file` or `folder`, in order without flags.

    Raises:
        InputError: an option is unknown, or has no value.
    """
    found, rest, waiting = Settings(), list[str](), list(words)
    while waiting:
        word = waiting.pop(0)
        if ONE_DASH.match(word):
            raise unknown(word[1:].partition("=")[0].replace("-", "_"), options, dashes="-")
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, text = word[2:].partition("=")
        name = name.replace("-", "_")
        option, positive = _find(name, options), re.sub(r"(^|\.)no_(\w+)$", r"\1\2", name)
        if option is None and (negated := _find(positive, options)) and negated.is_switch and not equals:
            found[positive] = "false"
            continue
        if option is None:
            raise unknown(name, options)
        follow = any(get_origin(kind) in (list, tuple) for kind in option.kinds)  # as in --data ONE OTHER
        several, values = follow and not option.is_repeated, [text] if equals else []
        while waiting and not equals and not waiting[0].startswith("--") and (several or not values):
            if option.is_switch and waiting[0].lower() not in (*SWITCHED, "null"):
                break
            if values and ONE_DASH.match(waiting[0]):
                break
            values.append(waiting.pop(0))
        if not values and not option.is_switch:
            raise InputError(f"{flag(name)} was given without a value; expected {flag(name)} VALUE")
        if option.is_repeated:
            found[name] = [*found.get(name, ()), *values]
        elif several and (len(values) > 1 or str not in option.kinds):
            found[name] = values
        else:
            found[name] = values[0] if values else "true"
    for name, option in options.items():
        if positional and name not in found and (option.required or (name in ("file", "folder") and rest)):
            if not rest:
                raise InputError(f"{name.upper()} was not given; --help describes it")
            found[name], rest = (rest, []) if option.is_repeated else (rest[0], rest[1:])
    if rest:
        named = next((name for name in ("data", "prompt") if name in options and name not in found), None)
        hint = f"did you mean {flag(named)} {shlex.quote(rest[0])}?" if named else "--help lists the options"
        raise InputError(f"{rest[0]!r} was not expected; {hint}")
    return found


def _find(name: str, options: Options) -> Option | None:
    """An option by its name, behind a dot one of any of the networks that an option may be."""
    first, _, rest = name.partition(".")
    option = options.get(first)
    if not rest or option is None:
        return option
    return next((one for cls in _concrete(option.base) if (one := _find(rest, options_of(cls)))), None)


def unknown(name: str, options: Options, prefix: str = "", dashes: str = "--") -> InputError:
    """The error for an unknown option, with one of a similar name; `prefix` is the network whose options they are, and
    `dashes` what stood before it.
    """
    given = f"the option {flag(name)} is not known"
    if dashes != "--":
        if _find(name, options):
            return InputError(f"{dashes}{name} was given; options have two dashes: {flag(name)}")
        given = f"the option {dashes}{name} is not known"
    if name.endswith(("epoch", "epochs")) and "max_steps" in options:
        return InputError(f"{given}; a training ends after --max-minutes, --max-steps or --max-tokens")
    inner = [f"{one}.{own}" for one, option in options.items() for own in _inner(option)]
    if meant := [one for one in ours(name) if one in (*options, *inner)]:
        named = " or ".join(map(flag, meant))
        return InputError(f"{given}; did you mean {named}?")
    alike = [one for one in inner if one.partition(".")[0] == name.partition(".")[0]]
    names = alike if "." in name.removeprefix(prefix) else [*reversed(inner), *(f"{prefix}{one}" for one in options)]
    ends = {one.rpartition(".")[2]: one for one in names}  # an own option rather than one of a network
    near = difflib.get_close_matches(name.rpartition(".")[2], ends, 1)
    hint = f"did you mean {flag(ends[near[0]])}?" if near else "--help lists the options"
    return InputError(f"{given}; {hint}")


def _inner(option: Option) -> set[str]:
    """Options of all networks that an option may be."""
    return {name for cls in _concrete(option.base) for name in options_of(cls)}


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
        settings: by name.
        options: by name.
        prefix: the network whose options these are, followed by a dot.

    Raises:
        InputError: an option is unknown or missing, or a value is not of its type.
    """
    found = Settings()
    for name, option in options.items():
        inner = {key.removeprefix(f"{name}."): value for key, value in settings.items() if key.startswith(f"{name}.")}
        if option.base is None and inner:
            raise unknown(f"{prefix}{name}.{next(iter(inner))}", options, prefix)
        if option.base is not None and (inner or (name in settings and str not in option.kinds)):
            found[name] = _network(f"{prefix}{name}", settings.get(name), inner, option)
        elif name in settings:
            found[name] = _value(f"{prefix}{name}", settings[name], option)
        elif option.required:
            raise InputError(f"{flag(f'{prefix}{name}')} was not given; --help describes it")
    if others := [name for name in settings if name.partition(".")[0] not in options]:
        raise unknown(f"{prefix}{others[0]}", options, prefix)
    return found


def _network(name: str, given: Any, inner: Settings, option: Option) -> Settings | None:
    """The constructor call of a network that was given by its class and arguments."""
    assert option.base is not None
    if not inner and given in NOTHING and NoneType in option.kinds:
        return None
    if given is None and not inner:
        raise InputError(f"{flag(name)} was given none; expected the name of a network, such as LSTM")
    if given is None:
        first = flag(f"{name}.{next(iter(inner))}")
        raise InputError(f"{first} was given without a network; name it first, such as {flag(name)} LSTM {first}")
    cls = named(option.base, given)
    own = options_of(cls)
    if others := [one for one in inner if one.partition(".")[0] not in own and one in _inner(option)]:
        raise InputError(f"the option {flag(f'{name}.{others[0]}')} is not one of {cls.__name__}; see --help")
    return {"class_path": class_path(cls), "init_args": converted(inner, own, f"{name}.")}


KINDS = {"Backbone": "network", "SequenceTask": "task", "SequenceDataModule": "data module"}


def named(base: type[Any], name: Any) -> type[Any]:
    """The class of a name, or of a class path, among those that are imported, else an InputError."""
    known = {cls.__name__: cls for cls in _concrete(base)}
    every = known | {class_path(cls): cls for cls in known.values()}
    alike = [one for one in every if one == name] or [one for one in every if one.lower() == str(name).lower()]
    if len(alike) != 1:
        near = difflib.get_close_matches(str(name), known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"the {KINDS.get(base.__name__, 'class')} {name!r:.100} is not known; choose one of "
            f"{', '.join(sorted(known))}, or import your own with --import MODULE{hint}"
        )
    return every[alike[0]]


def _concrete(base: type[Any] | None) -> list[type[Any]]:
    return [cls for cls in subclasses(base) if not inspect.isabstract(cls)] if base else []


def _value(name: str, given: Any, option: Option) -> Any:
    """A value of the type of an option, from a value or its text."""
    if given is None and not {NoneType, Any} & set(option.kinds):
        raise InputError(f"{flag(name)} was given null; leave it out for its default")
    try:
        return _typed(given, option.kind)
    except (ValueError, TypeError):
        kinds = [kind for kind in option.kinds if kind is not NoneType]
        choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        types = " or ".join(map(_type_name, kinds))
        expected = f"choose one of {', '.join(choices)}" if choices else f"expected {types}"
        if isinstance(given, float) and not math.isfinite(given):
            expected = "expected a finite number"
        raise InputError(f"{flag(name)} was given {given!r:.200}; {expected}") from None


def _type_name(kind: Any) -> str:
    """A type for people."""
    if get_origin(kind) in (list, tuple):
        return f"{get_args(kind)[0].__name__}, several separated by spaces"
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _typed(given: Any, kind: Any) -> Any:
    """The value, or what its text stands for; a ValueError where it is of another type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return given
    if origin in (Union, UnionType):
        for one in sorted(arguments, key=lambda one: one is str):  # which any text is
            with contextlib.suppress(ValueError, TypeError):
                return _typed(given, one)
    elif origin is Literal:
        for choice in arguments:
            if given == choice or str(given).lower() == str(choice).lower():
                return choice
    elif kind is NoneType and given in NOTHING:
        return None
    elif kind is bool and (isinstance(given, bool) or str(given).lower() in SWITCHED):
        return given if isinstance(given, bool) else SWITCHED[given.lower()]
    elif kind in (int, float) and not isinstance(given, bool) and isinstance(given, str | int | kind):
        number = kind(given)
        if math.isfinite(number):
            return number
    elif (container := origin or kind) in (list, tuple, dict):
        found = json.loads(given) if isinstance(given, str) else given
        if isinstance(found, dict) and container is dict:
            return found
        if isinstance(found, list) and container is not dict:
            return container(_typed(one, arguments[0] if arguments else Any) for one in found)
    elif isinstance(kind, type) and kind not in (bool, int, float, NoneType) and isinstance(given, kind):
        return given
    raise ValueError


def called(function: Callable[..., Any], words: Sequence[str], *, positional: bool = False) -> Any:
    """Call a function with the arguments on a command line, and torch seeded by its argument `seed`; see `read_flags`
    and `converted`.
    """
    options = options_of(function)
    arguments = converted(read_flags(words, options, positional=positional), options)
    seed_all(arguments.get("seed", options["seed"].default if "seed" in options else None))
    calls = {name: call for name, call in arguments.items() if call is not None and options[name].base}
    return function(**arguments | {name: construct(call, Recorded) for name, call in calls.items()})


def seed_all(seed: int | None) -> None:
    """Seed torch, which draws the initial weights, numpy and Python; an InputError for a seed of more than 64 bits."""
    import numpy as np
    import torch

    if seed is None:
        return
    if not -(1 << 63) <= seed < 1 << 63:
        raise InputError(f"--seed was given {seed}; expected a number of at most 64 bits")
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def given_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}
