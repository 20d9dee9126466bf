"""Writes the figures of pages from what runs left: none is typed by hand.

    python docs/results.py --keep tiny-shakespeare runs/language_model/*   # figures, commands and machines of runs
    python docs/results.py                                                 # writes the figures into all pages
    python docs/results.py --check                                         # exits with 1 if a page is stale

What is kept is a run folder of `seqmodels fit` or of a recipe, with what `seqmodels test RUN` and `seqmodels neurons
RUN` have put into its `result.json`; or the folder of `recipes/memory_sweep.py` and its like. Of a trial of
`seqmodels sweep` the command is shown that would train the same.

A table is written between a comment that says what is in it and the comment `end of figures`:

    <!-- figures: NAME
    Network = --backbone
    Nats = val/nats_per_token .3f
    -->

`NAME` is that of `--keep`. Each line is a column, `heading = what`: a key of `result.json` or `env.json`, with a format
behind it if it is a number, `label/key` for one inside another, an option of the command such as `--backbone`,
`command`, or `test` for the command of a test. Runs whose commands differ only in their seed are one row, with mean and
standard deviation; `highest` or `lowest` behind the format puts the best seed before them. Of two runs with one seed
the later one counts. Three more lines may follow: `rows = tests` or `rows = neurons` for a row for each test rather
than for each run, `only = WORDS` for rows in whose commands these words stand, or do not with `!` before them, and
`order = what`, with `descending` behind it, for another order than that of the last column.

`success: NAME` and `abilities: NAME TASK` in place of `figures: NAME` are the tables that `memory_sweep.py` and
`state_and_recall.py` write. A number in a sentence stands between `<!-- figure: NAME what; WORDS -->` and
`<!-- end -->`, with words of the command of its row.
"""

import argparse
import itertools
import json
import math
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqmodels.files import markdown_table

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "laboratory" / "figures"
BLOCK = re.compile(
    r"(?P<begin><!-- (?P<kind>figures|success|abilities): (?P<name>\w[\w-]*)(?: (?P<task>\w[\w-]*))?\s*\n?"
    r"(?P<columns>.*?)-->\n)(?P<made>.*?)(?P<end><!-- end of figures -->)",
    re.DOTALL,
)
INLINE = re.compile(r"(<!-- figure: ([\w-]+) ([^;>]+?)(?:; ([^>]*?))? -->).*?(<!-- end -->)", re.DOTALL)
ENVIRONMENT = ("command", "commit", "device", "cores", "threads", "precision", "began")
PLACES = ("--runs", "--json", "--html", "--workers")
"""Options that change no figure: where a run is kept, what is printed."""
CHOICES = ("--part", "--networks", "--methods", "--lengths", "--seeds")
"""Options of sweeps that choose among the experiments of a table."""
STANDS_FOR = {"--counts": "COUNTS", "--ensemble": "RUN_OF_ANOTHER_SEED"}
"""Options whose values are run folders, and what is shown."""
KINDS = {"tests": "test", "neurons": "neurons"}
"""Keys of `result.json` that hold figures of further commands, and these commands."""
ENOUGH = 3
"""Seeds of a figure that may be quoted."""
FEW = f"† fewer than {ENOUGH} seeds: an indication only."


def keep(table: str, runs: list[Path], figures: Path = FIGURES) -> None:
    """Keep the figures of run folders, and of folders of sweeps.

    Raises:
        SystemExit: a folder is neither, has not ended, or was made with changes that no commit has.
    """
    folder = figures / table
    for run in runs:
        found = dict(_of_sweep(run) if (run / "settings.json").is_file() else [_of_run(run)])
        folder.mkdir(parents=True, exist_ok=True)
        for name, kept in found.items():
            text = json.dumps(kept, indent=1, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _of_run(run: Path) -> tuple[str, dict[str, Any]]:
    try:
        result, environment = (json.loads((run / name).read_text("utf-8")) for name in ("result.json", "env.json"))
    except OSError as error:
        raise SystemExit(f"{error.filename} is not there; expected the folder of a run that has ended") from error
    if str(result.get("ended")).startswith("SIG"):
        raise SystemExit(f"{run} was stopped by {result['ended']}; resume it, and keep it when it has ended")
    for kind in KINDS:
        for scores in result.get(kind, {}).values():
            if "environment" not in scores:
                raise SystemExit(f"{run} has {kind} that do not say how they were made; repeat them")
            scores["environment"] = _environment(scores["environment"], run)
    if shown(environment["command"]).split()[1:2] == ["sweep"]:
        environment["command"] = _of_trial(run)
    kept = _environment(environment, run)
    if later := [_environment({**environment, **one}, run)["commit"] for one in environment.get("resumed", ())]:
        kept["resumed"] = list(dict.fromkeys(later))
    return run.name, {"environment": kept, "result": result}


def _of_trial(run: Path) -> str:
    """The command that would train what a trial of `seqmodels sweep` trained."""
    folder = run.resolve().parents[2]
    recipe, found = (json.loads((folder / name).read_text("utf-8")) for name in ("sweep.json", "results.json"))
    trial = next(one for one in found["trials"] if Path(str(one["run"])).name == run.name)
    if trial["state"] != "complete":
        raise SystemExit(f"{run} is a trial that was stopped early; keep those that are complete")
    settings = {"validations": recipe["halving"] ** 2, **recipe["settings"], **trial["params"], "seed": trial["seed"]}
    words = ["seqmodels", "fit"]
    for name, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [
                f"--{name.replace('_', '-')}",
                *(str(one).lower() if isinstance(one, bool) else str(one) for one in values),
            ]
    return shlex.join(words)


def _of_sweep(run: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if not (files := sorted(run.glob("*-s*.json"))):
        raise SystemExit(f"{run} has no results yet; expected the folder of a sweep")
    settings = json.loads((run / "settings.json").read_text("utf-8"))
    for file in files:
        result = json.loads(file.read_text("utf-8"))
        if (environment := result.pop("environment", None)) is None:
            raise SystemExit(f"{file} does not say how it was made; repeat it")
        result.pop("run", None)  # a folder of the machine
        yield file.stem, {"environment": _environment(environment, run), "settings": settings, "result": result}


def _environment(environment: dict[str, Any], run: Path) -> dict[str, Any]:
    if environment["commit"] is None or environment["commit"].endswith("+"):
        raise SystemExit(f"{run} ran with changes that no commit has; commit them, and run it again")
    if not in_history(environment["commit"]):
        raise SystemExit(
            f"{run} ran at {environment['commit']}, which the history does not have; run it again from a commit of it"
        )
    kept = {name: environment[name] for name in ENVIRONMENT if name in environment}
    return kept | {"command": shown(kept["command"]), "torch": environment["versions"]["torch"]}


def in_history(commit: str) -> bool:
    """Whether a commit is an ancestor of the present one, or is it."""
    command = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor", commit, "HEAD"]
    return subprocess.run(command, capture_output=True).returncode == 0


def options(words: list[str]) -> list[tuple[str, list[str]]]:
    """The options among the words of a command with their values."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            found.append((word, []))
        elif found:
            found[-1][1].append(word)
    return found


def shown(command: str, left_out: Sequence[str] = ()) -> str:
    """A command as a reader would give it: without folders of the machine, and without some options."""
    program, *words = shlex.split(command.removeprefix("python "))
    begin = ["python", f"recipes/{Path(program).name}"] if program.endswith(".py") else [Path(program).name]
    before = list(itertools.takewhile(lambda word: not word.startswith("--"), words))
    if before[:1] in (["test"], ["neurons"], ["validate"]):
        before[1:2] = ["RUN"]
    begin += before
    for name, values in options(words):
        if name in (*PLACES, *left_out):
            continue
        if name in STANDS_FOR:
            values = [STANDS_FOR[name]]
        begin += [name, *(Path(value).name if name in ("--data", "--references") else value for value in values)]
    return shlex.join(begin)


@dataclass
class Row:
    """Runs that differ in their seed only, with what was kept of each, by seed."""

    command: str
    test: str = ""
    by_seed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What was kept, in the order of seeds."""
        return [self.by_seed[seed] for seed in sorted(self.by_seed)]

    @property
    def environments(self) -> list[dict[str, Any]]:
        """Where each was trained, and then where each was tested."""
        return [run["environment"] for run in self.runs] + [run["tested"] for run in self.runs if "tested" in run]

    @property
    def places(self) -> list[str]:
        """The machines of these; how precise a training was says nothing of its tests."""
        found: dict[tuple[Any, ...], str] = {}
        for one in self.environments:
            found.setdefault(tuple(one[key] for key in ("device", "cores", "threads", "torch")), machine(one))
        return list(found.values())

    def value(self, run: dict[str, Any], key: str) -> Any:
        """What a run says of a key; None if nothing."""
        known = {**run["environment"], **run["result"], **run.get("scores", {})}
        if key in known:
            return known[key]
        outer, _, inner = key.rpartition("/")
        return known[outer].get(inner) if isinstance(known.get(outer), dict) else None

    def values(self, key: str) -> list[Any]:
        """What those runs say of a key that say something."""
        return [value for run in self.runs if (value := self.value(run, key)) is not None]

    def mean(self, what: str) -> float:
        """The mean of a number, by which rows are put in order; those without it come first."""
        return statistics.fmean(self.values(what.partition(" ")[0]) or [-math.inf])

    def cell(self, what: str) -> str:
        """The cell of a column."""
        key, _, form = what.partition(" ")
        if key in ("command", "test"):
            return f"`{self.command if key == 'command' else self.test}`"
        if key.startswith("--"):
            given = dict(options(shlex.split(self.command))).get(key)
            return "" if given is None else f"`{' '.join(given)}`"
        form, _, best = form.strip().partition(" ")
        if not (values := self.values(key)):
            return "-"
        if len(set(map(str, values))) == 1:
            return format(values[0], form)
        if not all(isinstance(value, int | float) for value in values):
            return ", ".join(dict.fromkeys(map(str, values)))
        middle, spread = statistics.fmean(values), statistics.stdev(values)
        if all(isinstance(value, int) for value in values):
            middle, spread = round(middle), round(spread)
        mean = f"{middle:{form}} ± {spread:{form}}"
        if best in ("highest", "lowest"):
            return f"{(max if best == 'highest' else min)(values):{form}} ({mean})"
        return mean

    def seeds(self) -> str:
        """The number of seeds, marked where they are few; counts have none."""
        if all(run["result"].get("parameters") == 0 for run in self.runs):
            return "none: counts"
        return f"{len(self.by_seed)}{' †' * (len(self.by_seed) < ENOUGH)}"


def kept_under(name: str, figures: Path) -> list[dict[str, Any]]:
    """All that is kept under a name, the oldest first."""
    kept = [json.loads(file.read_text("utf-8")) for file in sorted((figures / name).glob("*.json"))]
    return sorted(kept, key=lambda run: str(run["environment"]["began"]))


def rows_of(name: str, kind: str = "runs", only: str = "", figures: Path = FIGURES) -> list[Row]:
    """The rows of a table: of runs, or of their tests or neurons."""
    rows: dict[Any, Row] = {}
    for run in kept_under(name, figures):
        command, result = run["environment"]["command"], run["result"]
        seed = str(result.get("seed", dict(options(shlex.split(command))).get("--seed", ["1"])[0]))
        if "name" in result:  # of a sweep, whose command has them all
            entries = [(run, str(result["name"]), "")]
        elif kind == "runs":
            entries = [(run, shown(command, ("--seed",)), "")]
        else:
            entries = [
                (run | {"scores": {"text": text, **scores}, "way": text, "tested": scores["environment"]},
                 shown(command, ("--seed",)), shown(scores["environment"]["command"]))
                for text, scores in result.get(kind, {}).items()
            ]  # fmt: skip
        for entry, begin, test in entries:
            place = tuple(entry["environment"].get(key) for key in ("device", "threads"))
            way = entry.get("way")
            words = f"{begin} {test}".split()
            if all((word[1:] not in words) if word[0] == "!" else (word in words) for word in only.split()):
                rows.setdefault((begin, test, way, place), Row(begin, test)).by_seed[seed] = entry
    return list(rows.values())


def table(name: str, columns: list[tuple[str, str]], figures: Path = FIGURES) -> str:
    """The table of what is kept under a name, and where it was measured."""
    said = {heading: what for heading, what in columns if heading in ("rows", "only", "order")}
    columns = [(heading, what) for heading, what in columns if heading not in said]
    rows = rows_of(name, said.get("rows", "runs"), said.get("only", ""), figures)
    if not rows:
        return "No run is kept yet.\n"
    for _, what in columns:
        key = what.partition(" ")[0]
        if not (key in ("command", "test") or key.startswith("--") or any(row.values(key) for row in rows)):
            raise SystemExit(f"no run that is kept for {name} says anything of {key!r}")
    order = said.get("order", columns[-1][1])
    rows.sort(key=lambda row: row.mean(order), reverse=order.endswith(" descending"))
    places = list(dict.fromkeys(place for row in rows for place in row.places))
    letters = {place: chr(ord("A") + number) for number, place in enumerate(places)}
    headings = [heading for heading, _ in columns] + ["Seeds", "Commit"] + ["Machine"] * (len(places) > 1)
    made = [headings]
    for row in rows:
        cells = [row.cell(what) for _, what in columns] + [row.seeds(), commits(row.environments)]
        if len(places) > 1:
            cells.append(", ".join(letters[place] for place in row.places))
        made.append(cells)
    where = [f"{letters[place]}: {place}" if len(places) > 1 else place for place in places]
    notes = [
        *rivals(rows),
        *sweeps(rows),
        f"Measured on {'; '.join(where)}; {dates(one for row in rows for one in row.environments)}.",
    ]
    text = markdown_table(made)
    if "†" in text:
        notes.append(FEW)
    return text + "\n" + "\n".join(notes) + "\n"


def rivals(rows: Iterable[Row]) -> list[str]:
    """What PPMd needs for the same texts, with their names if there are several."""
    found: dict[float, str] = {}
    for run in (run for row in rows for run in row.runs):
        scores = run.get("scores", {})
        bits = scores.get("ppmd_bits_per_byte") if scores else run["result"].get("val/ppmd_bits_per_byte")
        if bits is not None:
            found[bits] = scores.get("text", "")
    each = [
        f"{bits:.3f} bits per byte ({bits * math.log(2):.3f} nats){f' of {text}' * (len(found) > 1)}"
        for bits, text in found.items()
    ]
    return [f"PPMd, after reading the training text: {'; '.join(each)}."] if each else []


def sweeps(rows: Iterable[Row]) -> list[str]:
    """The commands of sweeps, whose rows have names rather than commands."""
    made = (run["environment"]["command"] for row in rows for run in row.runs if "name" in run["result"])
    commands = dict.fromkeys(f"`{shown(command, CHOICES)}`" for command in made)
    return [f"Made by {', '.join(commands)}."] if commands else []


def machine(run: dict[str, Any]) -> str:
    """Where a run was made."""
    threads = f"{run['threads']} thread{'s' * (run['threads'] != 1)}"
    parts = [run["device"], f"{run['cores']} cores", threads, run.get("precision"), f"torch {run['torch']}"]
    return ", ".join(part for part in parts if part)


def commits(environments: Iterable[dict[str, Any]]) -> str:
    """The commits of runs, and of those with which they were resumed."""
    every = (commit for run in environments for commit in (run["commit"], *run.get("resumed", ())))
    return ", ".join(dict.fromkeys(f"`{commit[:7]}`" for commit in every))


def dates(environments: Iterable[dict[str, Any]]) -> str:
    """The first and the last day of runs."""
    days = sorted({str(run["began"])[:10] for run in environments})
    return " to ".join(dict.fromkeys([days[0], days[-1]]))


def of_experiments(kind: str, name: str, task: str | None, figures: Path = FIGURES) -> str:
    """The table that an experiment writes, of what is kept of it."""
    kept = kept_under(name, figures)
    if not kept:
        return "No run is kept yet.\n"
    results: dict[str, list[dict[str, Any]]] = {}
    by_seed = {(run["result"]["name"], run["result"]["seed"]): run["result"] for run in kept}
    for (experiment, _), result in sorted(by_seed.items(), key=lambda found: found[0][1]):
        results.setdefault(experiment, []).append(result)
    text = _success(results) if kind == "success" else _abilities(results, str(task))
    environments = [run["environment"] for run in kept]
    commands = dict.fromkeys(f"`{shown(run['command'], CHOICES)}`" for run in environments)
    notes = [f"Made by {', '.join(commands)} at {commits(environments)} on "]
    notes[0] += f"{'; '.join(dict.fromkeys(map(machine, environments)))}; {dates(environments)}."
    if "†" in text:
        notes.append(FEW)
    return text + "\n" + "\n".join(notes) + "\n"


def _success(results: dict[str, list[dict[str, Any]]]) -> str:
    from seqmodels.experiments.results import success_table

    methods = dict.fromkeys(name.rpartition(", ")[0] for name in results)
    lengths = sorted({int(name.rpartition(", ")[2]) for name in results})
    ordered = {key: results[key] for name in methods for length in lengths if (key := f"{name}, {length}") in results}
    few = re.compile(r"(?<=\| )([0-9]+)/([12]) ([^|]*?)(?= \|)")
    return few.sub(r"\1/\2 \3 †", success_table(ordered, lengths))


def _abilities(results: dict[str, list[dict[str, Any]]], task: str) -> str:
    from seqmodels.experiments.abilities import abilities_table, best_rates

    def mean(runs: list[dict[str, Any]]) -> float:
        return max(statistics.fmean(run["accuracy"].values()) for run in runs)

    best = sorted(best_rates(results).items(), key=lambda found: -mean(found[1][1]))
    return re.sub(r"\| ([12]) \|$", r"| \1 † |", abilities_table(dict(best), task), flags=re.MULTILINE)


def made(text: str, figures: Path = FIGURES) -> str:
    """The text of a page with its figures."""

    def block(found: re.Match[str]) -> str:
        if found["kind"] == "figures":
            columns = [line.split(" = ", 1) for line in found["columns"].strip().splitlines()]
            written = table(found["name"], [(heading.strip(), what.strip()) for heading, what in columns], figures)
        else:
            written = of_experiments(found["kind"], found["name"], found["task"], figures)
        return f"{found['begin']}\n{written}\n{found['end']}"

    def inline(found: re.Match[str]) -> str:
        begin, name, what, only, end = found.groups()
        kind = "tests" if "test" in (only or "").split() else "runs"
        rows = rows_of(name, kind, only or "", figures)
        if len(rows) != 1:
            raise SystemExit(f"{begin} fits {len(rows)} rows; expected one")
        return f"{begin}{rows[0].cell(what)}{end}"

    return INLINE.sub(inline, BLOCK.sub(block, text))


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that have figures."""
    every = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [
        page
        for page in every
        if page.is_file() and re.search("<!-- (figures?|success|abilities): ", page.read_text("utf-8"))
    ]


def main(words: list[str]) -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("--keep", metavar="TABLE", help="keep the figures of runs for this table")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders, and folders of sweeps")
    given = parser.parse_args(words)
    if given.runs and not given.keep:
        parser.error("runs were given without --keep TABLE")
    if given.keep:
        keep(given.keep, given.runs, FIGURES)
    for page in pages(ROOT):
        there = page.read_text(encoding="utf-8")
        if (now := made(there, FIGURES)) != there:
            if given.check:
                sys.exit(f"the figures of {page.relative_to(ROOT)} are stale; run: python docs/results.py")
            page.write_text(now, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
