"""A file of settings, such as the `config.yaml` of a run, looked through before it is followed."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # not in its __all__

from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.plain import DEPTH, local, read_small
from seqmodels.recorded import class_path, subclasses

LARGEST = 1 << 20
"""Most bytes of settings."""
REPEATS = 20
"""Most places that refer to another one: with more, a few lines can stand for gigabytes."""
LONGEST = 100_000
"""Most characters of one setting."""
DIGITS = 30
"""Most digits of a number."""


class ConfigFile(ActionConfigFile):
    """The flag `--config`: a file is parsed by jsonargparse if it holds nothing but plain settings."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        check_configuration(values)
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a file of plain YAML.

    Raises:
        InputError: it is more than that, is no file of this machine, or is no YAML.
    """
    file = local(path)
    text = read_small(file, LARGEST)
    name = repr(str(file))
    try:
        _check_events(text, name)
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{name} is no YAML: {why}; expected settings, as config.yaml of a run has them") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(
            f"{name} holds no settings; expected lines such as 'lr: 0.003', as config.yaml of a run has them"
        )
    return found


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


def _check_events(text: str, name: str) -> None:
    """Walk through the file without making anything of it."""
    depth = repeats = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        repeats += isinstance(event, yaml.AliasEvent)
        if depth > DEPTH or repeats > REPEATS:
            raise InputError(
                f"{name} is nested more than {DEPTH} levels deep, or repeats itself more than {REPEATS} times"
            )
        if tag := getattr(event, "tag", None):
            raise InputError(f"{name} has the tag {tag!r:.80}; expected plain settings without tags")
        if isinstance(event, yaml.ScalarEvent) and (
            len(event.value) > LONGEST or (len(event.value) > DIGITS and event.value.lstrip("+-").isdigit())
        ):
            raise InputError(f"{name} has a setting of {len(event.value):,} characters; expected fewer")


def _class_paths(value: Any) -> list[Any]:
    """What stands behind each `class_path`, and the network where its name stands alone."""
    if isinstance(value, list):
        return [path for part in value for path in _class_paths(part)]
    if not isinstance(value, dict):
        return []
    found = [part for name, part in value.items() if name == "class_path"]
    found += [value["backbone"]] if isinstance(value.get("backbone"), str) else []
    return found + [path for part in value.values() for path in _class_paths(part)]
