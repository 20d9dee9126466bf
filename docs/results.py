"""Writes `laboratory/results.md` from its template and the kept figures of runs: no figure of a table is typed.

    python docs/results.py --keep tiny-shakespeare runs/language_model/*   # figures, commands and machines of runs
    python docs/results.py                                                 # writes the page
    python docs/results.py --check                                         # exits with 1 if the page is stale

A table of the template is a comment: the name under which figures are kept, and a line for each column, `heading =
what`. That is a key of `result.json` or `env.json`, with a format behind it if it is a number, an option of the command
such as `--backbone`, or `command`. Runs whose commands differ only in their seed are one row, with the mean and, in
brackets, the lowest and the highest; rows are in the order of the last column.
"""

import argparse
import itertools
import json
import re
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
LABORATORY = DOCS / "laboratory"
TEMPLATE, PAGE, FIGURES = LABORATORY / "results.template", LABORATORY / "results.md", LABORATORY / "figures"
TABLE = re.compile(r"<!-- figures: ([\w-]+)\n(.*?)-->\n", re.DOTALL)
ENVIRONMENT = ("command", "commit", "device", "cores", "threads", "precision", "began")
PLACES = ("--runs", "--name")
"""Options that say where a run is kept."""


def keep(table: str, runs: list[Path]) -> None:
    """Keep what `result.json` and `env.json` of run folders say.

    Raises:
        SystemExit: a folder is no ended run, or has changes that no commit has.
    """
    for run in runs:
        try:
            result, environment = (json.loads((run / name).read_text("utf-8")) for name in ("result.json", "env.json"))
        except OSError as error:
            raise SystemExit(f"{error.filename} is not there; expected the folder of a run that has ended") from error
        if environment["commit"] is None or environment["commit"].endswith("+"):
            raise SystemExit(f"{run} ran with changes that no commit has; commit them, and run it again")
        kept = {name: environment[name] for name in ENVIRONMENT} | {"torch": environment["versions"]["torch"]}
        kept["command"] = shown(kept["command"])
        folder = FIGURES / table
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"environment": kept, "result": result}, indent=1, ensure_ascii=False)
        (folder / f"{run.name}.json").write_text(text + "\n", encoding="utf-8")


def options(words: list[str]) -> list[tuple[str, str | None]]:
    """The options among the words of a command with their values; None for those that have none."""
    follows = [*words[1:], "--"]
    return [
        (word, None if following.startswith("--") else following)
        for word, following in zip(words, follows, strict=True)
        if word.startswith("--")
    ]


def shown(command: str, left_out: tuple[str, ...] = ()) -> str:
    """A command as a reader would give it: without folders of the machine, and without some options."""
    program, *words = shlex.split(command.removeprefix("python "))
    begin = ["python", f"recipes/{Path(program).name}"] if program.endswith(".py") else [Path(program).name]
    begin += itertools.takewhile(lambda word: not word.startswith("--"), words)
    for name, value in options(words):
        if name not in PLACES + left_out:
            begin += [name] if value is None else [name, Path(value).name if name == "--data" else value]
    return shlex.join(begin)


def cell(runs: list[dict[str, Any]], what: str) -> str:
    """A cell of the row of runs."""
    key, _, form = what.partition(" ")
    command = runs[0]["environment"]["command"]
    if key == "command":
        return f"`{shown(command, ('--seed',))}`"
    if key.startswith("--"):
        value = dict(options(shlex.split(command))).get(key)
        return "" if value is None else f"`{value}`"
    values = [{**run["environment"], **run["result"]}[key] for run in runs]
    if len(set(values)) == 1:
        return format(values[0], form)
    return f"{statistics.fmean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(name: str, columns: list[tuple[str, str]], folder: Path = FIGURES) -> str:
    """The table of what is kept under a name, and where it was measured."""
    kept = [json.loads(file.read_text("utf-8")) for file in sorted((folder / name).glob("*.json"))]
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in kept:
        rows.setdefault(shown(run["environment"]["command"], ("--seed",)), []).append(run)
    last = columns[-1][1].partition(" ")[0]
    ordered = sorted(rows.values(), key=lambda runs: statistics.fmean(run["result"][last] for run in runs))
    lines = ["| " + " | ".join(heading for heading, _ in columns) + " | Seeds |", "|---" * (len(columns) + 1) + "|"]
    for runs in ordered:
        lines.append("| " + " | ".join(cell(runs, what) for _, what in columns) + f" | {len(runs)} |")
    places = dict.fromkeys(machine(run["environment"]) for run in kept)
    return "\n".join(lines) + "\n\nMeasured on: " + "; ".join(places) + ".\n"


def machine(run: dict[str, Any]) -> str:
    """Where and when a run was made."""
    threads = f"{run['threads']} thread{'s' * (run['threads'] != 1)}, {run['precision']}, torch {run['torch']}"
    return f"{run['device']}, {run['cores']} cores, {threads}, commit `{run['commit'][:7]}`, {run['began'][:10]}"


def page() -> str:
    """Text of `results.md`."""

    def made(found: re.Match[str]) -> str:
        columns = [line.split(" = ", 1) for line in found[2].strip().splitlines()]
        return table(found[1], [(heading.strip(), what.strip()) for heading, what in columns])

    return TABLE.sub(made, TEMPLATE.read_text(encoding="utf-8"))


def main(words: list[str]) -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--keep", metavar="TABLE", help="keep the figures of runs for this table")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    given = parser.parse_args(words)
    if given.runs and not given.keep:
        parser.error("runs were given without --keep TABLE")
    if given.keep:
        keep(given.keep, given.runs)
    if not given.check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(
            "docs/laboratory/results.md is stale; change results.template beside it, and run: python docs/results.py"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
