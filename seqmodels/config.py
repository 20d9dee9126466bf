"""Constructor calls as plain data.

A checkpoint has to rebuild the objects it was saved from without running code from the file. So every class
that can be rebuilt remembers how it was constructed, as `{"class_path": ..., "init_args": {...}}` of strings,
numbers, lists and dicts, and `construct` turns such a record back into an object, of classes already imported.
"""

import contextlib
import functools
import inspect
import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import yaml

from seqmodels.errors import InputError, one_line, place
from seqmodels.files import DEPTH, local, read_small

Call = dict[str, Any]

RECORD = "seqmodels"
"""Key of the record of this package in a checkpoint."""
FORMAT = 1
"""Of the record; a later one may give the same fields another meaning."""


class Described(ABC):
    """An argument that is no plain value: a record describes it, and cannot bring it back."""

    @property
    @abstractmethod
    def description(self) -> Call:
        """Plain values that say what it was."""


class Recorded:
    """Base of classes whose constructor call is their configuration.

    Subclasses need do nothing: the outermost `__init__` is recorded, with defaults filled in, in
    `constructor_call`. Arguments are plain values (None, bool, int, float, str, lists and dicts of them) or
    other `Recorded` objects.
    """

    constructor_call: Call

    @classmethod
    def _accepted(cls, name: str, value: Any) -> Any:
        """The value that an argument of the constructor stands for: text for a path, unless a class knows more."""
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """The constructor call, with the arguments that differ from their defaults."""
        call = self.__dict__.get("constructor_call")
        return object.__repr__(self) if call is None else written(call)

    def __str__(self) -> str:
        return repr(self)


def _bound(cls: type[Recorded], *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """The arguments of a constructor call by name; what does not fit is told with the class and its own arguments."""
    signature = inspect.signature(cls.__init__)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:])
        raise TypeError(f"{cls.__name__}(): {error}; its arguments are {names}") from None


def _recording(init: Any) -> Any:
    @functools.wraps(init)
    def wrapper(self: Recorded, *args: Any, **kwargs: Any) -> None:
        if "constructor_call" not in self.__dict__:  # the outermost constructor speaks for the object
            cls = type(self)
            bound = _bound(cls, self, *args, **kwargs)
            for name, value in list(bound.arguments.items())[1:]:
                kind = bound.signature.parameters[name].kind
                if kind is inspect.Parameter.VAR_POSITIONAL:
                    value = tuple(cls._accepted(name, one) for one in value)
                elif kind is inspect.Parameter.VAR_KEYWORD:
                    value = {key: cls._accepted(key, one) for key, one in value.items()}
                bound.arguments[name] = cls._accepted(name, value)
            args, kwargs = bound.args[1:], bound.kwargs
            bound.apply_defaults()
            given: dict[str, Any] = {}
            for name, value in list(bound.arguments.items())[1:]:
                kind = bound.signature.parameters[name].kind
                _check_object(cls, name, value)
                given |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
            call = {"class_path": class_path(cls), "init_args": {k: _plain(v, cls, k) for k, v in given.items()}}
            object.__setattr__(self, "constructor_call", call)
        init(self, *args, **kwargs)

    return wrapper


ALWAYS_SHOWN = ("data", "source", "target")
"""Arguments that are told even if they have their defaults: the text of a data module."""


def written(call: Call) -> str:
    """A constructor call as Python, short: without arguments that have their defaults, and long values cut."""
    cls = next((one for one in subclasses(Recorded) if class_path(one) == call["class_path"]), Recorded)
    usual = {
        name: parameter.default
        for one in reversed(cls.__mro__)
        if "__init__" in vars(one) and issubclass(one, Recorded)
        for name, parameter in inspect.signature(one.__init__).parameters.items()
    }
    given = {
        name: value
        for name, value in call["init_args"].items()
        if name in ALWAYS_SHOWN or value != _plain_default(usual.get(name))
    }
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in given.items())
    return f"{call['class_path'].rpartition('.')[2]}({shown})"


def _plain_default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else getattr(value, "constructor_call", value)


def _shown(value: Any) -> str:
    if is_call(value):
        return written(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Annotations of the constructor; none where names in them are not known, as in classes made in functions."""
    with contextlib.suppress(NameError):
        return get_type_hints(cls.__init__)  # type: ignore[misc]
    return {}


def _check_object(cls: type, name: str, value: Any) -> None:
    """Refuse another object where one of this package is expected, such as a module of torch for a network; and text
    for a number.
    """
    kind = _hints(cls).get(name)
    allowed = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if isinstance(value, str) and set(allowed) & {int, float} and set(allowed) <= {int, float, NoneType}:
        raise InputError(f"{cls.__name__}({name}=...) was given the text {value!r:.40}; expected a number, unquoted")
    kinds = [one for one in allowed if isinstance(one, type)]
    wanted = [one for one in kinds if issubclass(one, Recorded)]
    if wanted and not isinstance(value, tuple(kinds)):
        is_module = hasattr(value, "named_parameters")
        hint = f"; make its class a network with seqmodels.as_backbone({type(value).__name__})" if is_module else ""
        if type(value).__module__.startswith("torch."):
            hint = "; torch's own modules have states of other shapes: take one of seqmodels, such as seqmodels.LSTM"
        if isinstance(value, type) and issubclass(value, tuple(wanted)):
            hint = f": one that was made, such as {value.__name__}(...), not the class"
        given = f"{one_line(repr(value)):.40} of type {type(value).__qualname__}"
        expected = f"expected a {wanted[0].__name__} of seqmodels{hint}"
        raise InputError(f"{cls.__name__}({name}=...) was given {given}; {expected}")


def class_path(cls: type) -> str:
    """The name by which a file names a class: `seqmodels.GRU` for those of this package, wherever they are defined, so
    that files survive when code moves; the import path for all others.

    A class with `recorded_as` is a part of the class of that name, and stands for it where that is not imported.
    """
    if cls.__module__.startswith("seqmodels."):
        return f"seqmodels.{vars(cls).get('recorded_as', cls.__qualname__)}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any, cls: type, name: str) -> Any:
    if isinstance(value, Recorded):
        return value.constructor_call
    if isinstance(value, Described):
        return value.description
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, cls, name) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain(item, cls, name) for key, item in value.items()}
    raise InputError(
        f"{cls.__name__}({name}=...) was given a {type(value).__name__}; expected None, bool, int, float, str, "
        "a list or dict of them, or an object of this package, since a checkpoint records the constructor call"
    )


def construct(call: Call, base: type) -> Any:
    """Rebuild an object from its record, `{"class_path": ..., "init_args": {...}}`.

    Only classes that are already imported and derive from `base` are considered: nothing named in a file is
    ever imported.

    Raises:
        InputError: the record is malformed, or names a class that is not known.
    """
    if not (is_call(call) and isinstance(call["class_path"], str) and isinstance(call["init_args"], dict)):
        raise InputError(
            f"expected a constructor call with class_path and init_args for a {base.__name__}, got {call!r:.80}"
        )
    known = {class_path(cls): cls for cls in subclasses(base)}
    if call["class_path"] not in known:
        raise InputError(
            f"the class {call['class_path']!r} is not known as a {base.__name__}; if it is your own, import its module "
            "first (on the command line with --import MODULE)"
        )
    arguments = {k: _rebuilt(v) for k, v in call["init_args"].items()}
    try:
        return known[call["class_path"]](**arguments)
    except TypeError as error:
        why = f"{call['class_path']} cannot be built from the recorded arguments: {error}{place(error)}"
        raise InputError(why) from error


def _rebuilt(value: Any) -> Any:
    if is_call(value):
        return construct(value, Recorded)
    if isinstance(value, list):
        return [_rebuilt(item) for item in value]
    return {key: _rebuilt(item) for key, item in value.items()} if isinstance(value, dict) else value


def is_call(value: Any) -> bool:
    """Whether a value has the form of a recorded constructor call."""
    return isinstance(value, dict) and value.keys() == {"class_path", "init_args"}


def subclasses(base: type[Any]) -> list[type[Any]]:
    """A class and all that derive from it, as far as they are imported; of one name, the newest last."""
    found = [base]
    for cls in base.__subclasses__():
        found += subclasses(cls)
    return found


SETTINGS_BYTES, SETTING_CHARACTERS, SETTING_DIGITS = 1 << 20, 100_000, 30
"""Most bytes of settings, characters of one of them, and digits of a number."""
SETTING_ALIASES = 20
"""Most places that refer to another one: with more, a few lines can stand for gigabytes."""


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a file of plain YAML.

    Raises:
        InputError: it is more than that, is no file of this machine, or is no YAML.
    """
    file = local(path)
    text, name = read_small(file, SETTINGS_BYTES), repr(str(file))
    try:
        _check_events(text, name)
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{name} is no YAML: {why}; expected settings, as config.yaml of a run has them") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{name} holds no settings; expected lines such as 'lr: 0.003', as in config.yaml of a run")
    return found


SECTIONS = ("task", "data", "fit")
"""Of the `config.yaml` of a run: constructor calls of its task and its data, and arguments of `fit`."""


def read_run(path: str | Path) -> dict[str, dict[str, Any]]:
    """The settings of a run by section; a file that people write may leave sections, classes and arguments out.

    Raises:
        InputError: there are others; or see `read_settings`.
    """
    found, name = read_settings(path), repr(str(local(path)))
    if others := [key for key in found if key not in SECTIONS]:
        raise InputError(f"{name} has {others[0]!r:.100} in no section; expected the sections task, data and fit")
    for section, settings in found.items():
        call = {"init_args": settings} if section == "fit" else settings
        others = list(call.keys() - {"class_path", "init_args"}) if isinstance(call, dict) else [call]
        arguments = call.get("init_args", {}) if isinstance(call, dict) else None
        if others or not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
            expected = "names and values" if section == "fit" else "class_path and init_args"
            wrong = others[0] if others else settings
            raise InputError(f"{name} has {wrong!r:.100} in the section {section}; expected {expected}")
    return found


def by_flag(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run by the names of their flags; whatever else a damaged file holds stays where it is."""
    found: dict[str, Any] = {}
    for section, content in settings.items():
        if section not in SECTIONS or not isinstance(content, dict):
            found[section] = content
            continue
        if isinstance(content.get("class_path"), str):
            found["data_module" if section == "data" else section] = content["class_path"].rpartition(".")[2]
        inner = content if section == "fit" else content.get("init_args")
        found |= inner if isinstance(inner, dict) else {}
    return found


def _check_events(text: str, name: str) -> None:
    """Walk through the file without making anything of it."""
    depth = repeats = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        repeats += isinstance(event, yaml.AliasEvent)
        if depth > DEPTH or repeats > SETTING_ALIASES:
            raise InputError(
                f"{name} is nested more than {DEPTH} levels deep, or repeats itself more than {SETTING_ALIASES} times"
            )
        if tag := getattr(event, "tag", None):
            raise InputError(f"{name} has the tag {tag!r:.80}; expected plain settings without tags")
        if isinstance(event, yaml.ScalarEvent) and (
            len(event.value) > SETTING_CHARACTERS
            or (len(event.value) > SETTING_DIGITS and event.value.lstrip("+-").isdigit())
        ):
            raise InputError(f"{name} has a setting of {len(event.value):,} characters; expected fewer")
