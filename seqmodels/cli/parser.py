"""Command lines into typed arguments: jsonargparse, with the errors and flags that people expect.

A file of settings, such as the `config.yaml` of a run, looked through before it is followed.
"""

import difflib
import inspect
import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from jsonargparse import ArgumentParser
from jsonargparse._actions import ActionConfigFile  # not in its __all__

from seqmodels.config import class_path, read_settings, subclasses
from seqmodels.errors import InputError
from seqmodels.files import local
from seqmodels.nn import Backbone

NO_MEMORY = r"can't allocate memory|out of memory"
"""What torch says where it does not suffice."""


class Parser(ArgumentParser):
    """A parser whose errors are one line with a suggestion, raised as `InputError`.

    Flags may be written with dashes, and switches without a value: `--carry`, `--no-carry`. Options that take a list of
    strings are given once for each, `--stop END --stop STOP`; those that take a tuple, all of them at once,
    `--data ONE OTHER`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)  # half a flag is a mistake, which gets a suggestion

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise what went wrong, in one line."""
        raise _cause(ex) or InputError(self._one_line(message))

    def parse(self, argv: Sequence[str]) -> Any:
        """Typed arguments from the words of a command line, networks built from the seed among them.

        Raises:
            InputError: a flag or a value is not known.
        """
        words = self._together(self._gathered(self._plain(argv)))
        self._check_network(words)
        arguments = self.parse_args(words)
        self._check_nulls(arguments)
        if "seed" in arguments and arguments.seed is not None:
            if not -(1 << 63) <= arguments.seed < 1 << 63:
                raise InputError(f"--seed was given {arguments.seed}; expected a number of at most 64 bits")
            torch.manual_seed(arguments.seed)  # before networks are built, whose weights are drawn
        try:
            return self.instantiate(arguments)
        except (IndexError, ValueError) as error:  # of an error without a text, jsonargparse makes an IndexError
            if _out_of_memory(error):
                raise InputError("the memory does not suffice for this network; give smaller sizes") from error
            if (cause := _cause(error)) or re.search(NO_MEMORY, str(error)):
                raise cause or error from error
            why = re.search(r"^ +- (.*)$", str(error), re.MULTILINE)
            raise InputError(f"a setting cannot be used: {why[1] if why else str(error).splitlines()[0]}") from error

    def _check_nulls(self, arguments: Any) -> None:
        """Refuse a null in a file of settings, which jsonargparse takes for any of them."""
        for action in self._actions:
            kinds = get_args(getattr(action, "_typehint", None))
            if action.default is not None and arguments.get(action.dest, 0) is None and type(None) not in kinds:
                raise InputError(f"--{action.dest.replace('_', '-')} was given null; leave it out for its default")

    def _one_line(self, message: str) -> str:
        """The cause among the lines of a nested report of jsonargparse."""
        if unknown := re.search(
            r"Option '([\w.]+)' is not accepted|unrecognized arguments: --([\w.]+)", message, re.IGNORECASE
        ):
            names = self._names()
            name = unknown[2] or f"backbone.{unknown[1]}"  # what is nested is told without what it is nested in
            if name in names:
                return f"the option --{name.replace('_', '-')} is not one of this network; --help lists what each takes"
            near = difflib.get_close_matches(name, names, 1, 0.5) or [n for n in names if n.endswith(f".{name}")]
            hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "--help lists what there is"
            return f"the option --{name.replace('_', '-')} is not known; {hint}"
        if missing := re.search(r"the following arguments are required: (\w+)", message):
            required = any(action.dest == missing[1] and action.option_strings for action in self._actions)
            flag = f"--{missing[1].replace('_', '-')}" if required else missing[1].upper()
            return f"{flag} was not given; --help says what it is"
        key = re.search(r"Parser key \"([\w.]+)\"", message)
        if key and (choice := re.search(r"Literal\[([^\]]*)\]", message)):
            given = re.search(r"(?:Given|Got) value: (.*)", message)
            one_of = ", ".join(re.findall(r"'([\w-]+)'", choice[1]))
            what = "something else" if given is None else repr(given[1].strip())
            return f"--{key[1].replace('_', '-')} was given {what}; choose one of {one_of}"
        if key and (wrong := re.search(r"Expected an? (.+?)\. Got value: (.*)", message)):
            kind = re.sub(r"<class '([\w.]+)'>", r"\1", wrong[1])
            return f"--{key[1].replace('_', '-')} was given {wrong[2]!r}; expected {kind}"
        if key and (any_of := re.search(r"Subtypes: \[(.*)\]\n(?:.*\n)*? +Given value: (.*)", message)):
            kinds = [kind for kind in re.findall(r"<class '([\w.]+)'>", any_of[1]) if kind != "NoneType"]
            return f"--{key[1].replace('_', '-')} was given {any_of[2]!r}; expected {' or '.join(kinds)}"
        lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
        return ": ".join(line.rstrip(".:") for line in lines[:3])

    def _names(self) -> list[str]:
        own = [name[2:] for name in self._option_string_actions if name.startswith("--")]
        return own + [f"backbone.{name}" for cls in _networks().values() for name in inspect.signature(cls).parameters]

    def _switches(self) -> set[str]:
        return {action.dest for action in self._actions if getattr(action, "_typehint", None) in (bool, bool | None)}

    def _plain(self, argv: Sequence[str]) -> list[str]:
        """Underscores in flags, and a value behind every switch."""
        words: list[str] = []
        switches = self._switches()
        for place, word in enumerate(argv):
            if not word.startswith("--") or len(word) == 2:
                words.append(word)
                continue
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name.startswith("no_") and name[3:] in switches:
                name, equals, value = name[3:], "=", "false"
            elif name in switches and not equals and (place + 1 == len(argv) or not _is_choice(argv[place + 1])):
                equals, value = "=", "true"
            words.append(f"--{name}{equals}{value}")
        return words

    def _gathered(self, words: list[str]) -> list[str]:
        """The values of an option that takes several strings, each as it was typed, as one list."""
        kinds = {a.dest: getattr(a, "_typehint", None) for a in self._actions}
        several = {name for name, kind in kinds.items() if kind in (list[str], list[str] | None)}
        at_once = {name for name, kind in kinds.items() if kind == tuple[str, ...] | None}
        values: dict[str, list[str]] = {}
        rest: list[str] = []
        following = iter(words)
        taking: str | None = None
        for word in following:
            name, equals, value = word.removeprefix("--").partition("=")
            taking = taking if not word.startswith("--") else name if name in at_once else None
            if taking is not None:
                values.setdefault(taking, []).extend([word] if not word.startswith("--") else [value] if equals else [])
                continue
            if not word.startswith("--") or name not in several:
                rest.append(word)
                continue
            if not equals and (value := next(following, "--")).startswith("--"):
                raise InputError(f"--{name.replace('_', '-')} was given without a value; expected --{name} TEXT")
            values.setdefault(name, []).append(value)
        if empty := [name for name, strings in values.items() if not strings]:
            raise InputError(
                f"--{empty[0].replace('_', '-')} was given without a value; expected --{empty[0]} TEXT ..."
            )
        return rest + [f"--{name}={json.dumps(strings)}" for name, strings in values.items()]

    def _together(self, words: list[str]) -> list[str]:
        """The words that are no option and no value of one, as one list, where a list of strings is expected."""
        if not any(a.option_strings == [] and getattr(a, "_typehint", None) == list[str] for a in self._actions):
            return words
        values, rest = list[str](), list[str]()
        for last, word in itertools.pairwise(["", *words]):
            own = word.startswith("--") or (last.startswith("--") and "=" not in last)
            (rest if own else values).append(word)
        return [json.dumps(values), *rest] if values else rest

    def _check_network(self, words: list[str]) -> None:
        for word, following in itertools.pairwise([*words, ""]):
            if word == "--backbone" or word.startswith("--backbone="):
                name = following if word == "--backbone" else word.partition("=")[2]
                if name not in _networks() and re.fullmatch(r"\w*", name):  # not the path of a class, nor a dict
                    near = difflib.get_close_matches(name, _networks(), 1, 0.5)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise InputError(f"the network {name!r} is not known; choose one of {', '.join(_networks())}{hint}")
                return
        options = [word for word in words if word.startswith("--backbone.")]
        if options and not any(word.startswith("--config") for word in words):
            raise InputError(
                f"{options[0]} was given without a network; name it first, such as --backbone LSTM {options[0]}"
            )


def _is_choice(word: str) -> bool:
    """Whether a word is the value of a switch rather than what follows it."""
    return word.lower() in ("true", "false", "yes", "no", "null")


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def _cause(error: BaseException | None) -> InputError | None:
    """The error of this package behind one of jsonargparse."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _networks() -> dict[str, type]:
    """Networks that can be named: those of the package, and whatever else was imported."""
    from seqmodels.config import subclasses
    from seqmodels.nn import Backbone

    named = {cls.__name__: cls for cls in subclasses(Backbone) if not inspect.isabstract(cls)}
    return dict(sorted(named.items()))


def call(function: Callable[..., Any], arguments: Any, **others: Any) -> Any:
    """Call a function, or a constructor, with those of the parsed arguments that it takes, and with others."""
    values = vars(arguments) | others
    return function(**{name: values[name] for name in inspect.signature(function).parameters if name in values})


class ConfigFile(ActionConfigFile):
    """The flag `--config`: a file is parsed by jsonargparse if it holds nothing but plain settings."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        check_configuration(values)
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]


def check_configuration(path: str) -> None:
    """Refuse a file of settings that is more than plain YAML, or names classes that were not imported.

    Raises:
        InputError: it does; see `read_settings`.
    """
    found, name = read_settings(path), repr(str(local(path)))
    known = {class_path(cls) for cls in subclasses(Backbone)} | {cls.__name__ for cls in subclasses(Backbone)}
    for wanted in _class_paths(found):
        if wanted not in known:
            raise InputError(
                f"{name} names the class {wanted!r:.100}, which is not known as a network; if it is your own, import "
                "its module first with --import MODULE"
            )


def _class_paths(value: Any) -> list[Any]:
    """What stands behind each `class_path`, and the network where its name stands alone."""
    if isinstance(value, list):
        return [path for part in value for path in _class_paths(part)]
    if not isinstance(value, dict):
        return []
    found = [part for name, part in value.items() if name == "class_path"]
    found += [value["backbone"]] if isinstance(value.get("backbone"), str) else []
    return found + [path for part in value.values() for path in _class_paths(part)]


def given_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that were given; the others are left to the defaults of what takes them."""
    return {name: value for name, value in arguments.items() if value is not None}
