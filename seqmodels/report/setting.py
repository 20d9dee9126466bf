"""The sections of how a run was made: its configuration and what it ran on."""

from typing import Any

from seqmodels.errors import InputError
from seqmodels.report.section import Section, facts, folded, table, text
from seqmodels.report.subject import Subject

CONFIGURATION = "All settings of the run, and the command that does it again."
ENVIRONMENT = "What the run ran on, and when, to tell apart what differs between two runs that should be alike."
NONE = "—"
"""Stands where there is nothing."""
LENGTH = 120
"""Characters of a value that are shown of lists and the like."""
ROWS = 500
"""Most lines of a table of settings."""


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Settings within settings by one name, with dots; of a network, `backbone` is its class."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and isinstance(value.get("class_path"), str):
            found[f"{before}{name}"] = value["class_path"].rpartition(".")[2]
            inner = value.get("init_args")
            found |= flat(inner if isinstance(inner, dict) else {}, f"{before}{name}.")
        elif isinstance(value, dict) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def shown(value: Any) -> str:
    """A setting as people write it."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)[:LENGTH]


def configuration(subject: Subject) -> Section:
    """Settings that say something, then those that were left empty.

    Raises:
        InputError: the run left no settings.
    """
    if not subject.settings:
        raise InputError(subject.absent.get("config.yaml", "config.yaml is empty"))
    settings = dict(list(flat(subject.settings).items())[:ROWS])
    said = {name: value for name, value in settings.items() if value not in (None, "", False)}
    rest = {name: value for name, value in settings.items() if name not in said}
    again = f"seqmodels fit --config {subject.folder}/config.yaml"
    by = subject.environment.get("command")
    command = by if isinstance(by, str) else again
    body = f'<p class="command"><code>{text(command, 2_000)}</code></p>'
    body += facts({name: shown(value) for name, value in said.items()})
    if rest:
        body += folded(
            f"{len(rest)} settings that were left empty or off",
            facts({name: shown(value) for name, value in rest.items()}),
        )
    return Section("configuration", "Configuration", CONFIGURATION, body)


def environment(subject: Subject) -> Section:
    """Versions, commit, command, device.

    Raises:
        InputError: the run left none of it.
    """
    if not subject.environment:
        raise InputError(subject.absent.get("env.json", "env.json is empty"))
    known = dict(list(flat({k: v for k, v in subject.environment.items() if k != "resumed"}).items())[:ROWS])
    body = facts({name.replace("versions.", ""): shown(value) for name, value in known.items()})
    resumed = subject.environment.get("resumed")
    if isinstance(resumed, list) and resumed:
        rows = [
            [shown(one.get("step")), shown(one.get("began")), shown(one.get("device")), shown(one.get("commit"))]
            for one in resumed[:ROWS]
            if isinstance(one, dict)
        ]
        body += folded(f"Resumed {len(resumed)} times", table(("at step", "began", "device", "commit"), rows), True)
    return Section("environment", "Environment", ENVIRONMENT, body)
