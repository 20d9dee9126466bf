"""Translation on the command line: a stream of lines through a model, and the scores of a text."""

import sys
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from seqmodels.batch import UNK
from seqmodels.bleu import bleu_by_length, corpus_scores, words
from seqmodels.checkpoint import load, read_checkpoint
from seqmodels.comparison import draw_bleu_by_length
from seqmodels.data import TranslationDataModule
from seqmodels.decoding import Beam, Draws
from seqmodels.diagnostics import alignment
from seqmodels.diagnostics.attention_page import attention_page
from seqmodels.errors import InputError
from seqmodels.folder import write_beside
from seqmodels.inference import for_use
from seqmodels.lines import parts
from seqmodels.plain import read_json
from seqmodels.tasks import LanguageModel, Translator
from seqmodels.tasks.joined import Joined
from seqmodels.tasks.record import RECORD
from seqmodels.tasks.translation import Translates, Translation, positions, translations

PART = 256
"""Lines that are read, sorted by length and translated at a time."""
SHOWN = 100
"""Most sentences on a page of attention."""


def load_translators(
    runs: Sequence[str],
    source: str | None = None,
    target: str | None = None,
    bf16: bool = False,
    int8: bool = False,
) -> list[Translates]:
    """Trained translators, to be used together.

    Args:
        runs: run folders or checkpoints.
        source: the language to translate from, to be checked; None for that of the model.
        target: likewise.
        bf16: see `inference.for_use`.
        int8: see there.

    Raises:
        InputError: a run is no translator, or one of other languages.
    """
    found: list[Translates] = []
    for run in runs:
        task, trained = load(run), trained_on(run)
        task = for_use(task, bf16=bf16, int8=int8)
        for side, wanted in (("source", source), ("target", target)):
            if wanted is not None and trained.get(side) not in (None, wanted):
                raise InputError(
                    f"{run!r} translates from {trained['source']!r} to {trained['target']!r}, and {side}={wanted!r} "
                    "was asked for; take another run, or leave the language out"
                )
        if isinstance(task, Translator):
            found.append(task)
        elif isinstance(task, LanguageModel) and trained.get("layout") == "joined":
            found.append(Joined(task))
        else:
            raise InputError(
                f"{run!r} is a {type(task).__name__} that was not trained to translate; expected a run of a "
                "Translator, or of a LanguageModel with layout='joined'"
            )
    return found


def trained_on(run: str) -> dict[str, Any]:
    """The arguments of the data module that a run was trained with; empty where they are not known."""
    return dict((read_checkpoint(run)[RECORD]["data"] or {"init_args": {}})["init_args"])


def translates(run: str) -> bool:
    """Whether a run is of a translator, of either kind."""
    return "layout" in trained_on(run)


def translated(models: Sequence[Translates], how: Beam | Draws) -> Iterator[tuple[str, list[Translation]]]:
    """Each line of standard input with its translations, in their order.

    Args:
        models: one, or several to be used together.
        how: how to search, or to draw.

    Raises:
        InputError: a line is not UTF-8.
    """
    stream = sys.stdin.buffer
    by_hand = stream.isatty()
    if by_hand:
        print("reading sentences from here, to the end of input (Ctrl-D); or give a file with: < FILE", file=sys.stderr)
    unknown = cut = number = 0
    longest = positions(models)
    for lines in parts(stream, "standard input", 1 if by_hand else PART):
        for ids in models[0].source_tokenizer.encode_batch(lines):
            unknown += ids.count(UNK)
            cut += longest is not None and len(ids) >= longest
        yield from zip(lines, translations(models, lines, how, number), strict=True)
        number += len(lines)
    if unknown:
        print(f"{unknown:,} tokens of the source are unknown to the vocabulary", file=sys.stderr)
    if cut:
        print(f"{cut:,} lines were longer than the positions of the network, and cut there", file=sys.stderr)


def check_attention_map(model: Translates, path: str) -> None:
    """Refuse a page of attention before anything is translated for it.

    Raises:
        InputError: the file could not be written, or the model attends to nothing.
    """
    place = Path(path).expanduser().absolute()
    if not place.parent.is_dir():
        raise InputError(f"--attention-map was given {path!r}, and there is no such folder; make it first")
    if place.is_dir():
        raise InputError(f"--attention-map was given {path!r}, which is a folder; give a file in it")
    if not isinstance(model, Translator):
        raise InputError("--attention-map is for translators with an encoder; this one is a language model")
    if not model.looks:
        raise InputError(
            "--attention-map was given, and this translator's decoder sees one vector for the whole source"
        )


def write_attention_map(model: Translates, pairs: Sequence[tuple[str, str]], path: str) -> None:
    """A page with the attention of the first sentences and their translations.

    Raises:
        InputError: the file cannot be written.
    """
    assert isinstance(model, Translator)
    page = attention_page(alignment(model, source, target) for source, target in pairs[:SHOWN])
    try:
        write_beside(Path(path).expanduser(), page)
    except OSError as error:
        raise InputError(f"cannot write {path!r}: {error.strerror or error}; give another --attention-map") from error
    more = f", the first of {len(pairs):,}" if len(pairs) > SHOWN else ""
    print(f"attention of {min(len(pairs), SHOWN):,} sentences{more}: {path}", file=sys.stderr)


def test_translations(
    run: str,
    data: Sequence[str] | None,
    subset: str | None,
    split: str | None,
    beam: Beam,
    bf16: bool,
    int8: bool,
    json: bool,
) -> dict[str, Any]:
    """Translate a text, compare, and print and keep the figures; arguments as of the subcommand `test`."""
    (task,) = load_translators([run], bf16=bf16, int8=int8)
    trained = trained_on(run)
    if data is None and "data" not in trained:
        raise InputError(f"{run!r} does not say what it was trained on; give --data")
    if data is not None:
        trained |= {"data": list(data) if len(data) > 1 else data[0], "subset": subset}
    module = TranslationDataModule(**trained | {"tokenizer": task.tokenizer})  # of which the text alone is read
    preferred = ("test", "whole", "validation") if data is not None else ("test", "validation")
    part = split or next(name for name in preferred if name in module.splits)
    rows = module.corpus.rows(part)
    sources, references = list(rows["source"]), list(rows["target"])
    outputs: list[str] = []
    for first in track(
        range(0, len(sources), PART),
        "translating",
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    ):
        found = translations([task], sources[first : first + PART], beam)
        outputs += [best[0].text if best else "" for best in found]
    scores = corpus_scores(outputs, references)
    scores["by_length"] = bleu_by_length(sources, outputs, references)
    report(run, f"{module.origin}, {part}", scores, json)
    return scores


def _are_tests(tests: Any) -> bool:
    """Whether these are scores by the names of texts, each with BLEU by length."""
    return isinstance(tests, dict) and all(
        isinstance(scores, dict)
        and isinstance(rows := scores.get("by_length"), list)
        and all(isinstance(row, dict) and type(row.get("from")) is int for row in rows)
        and all(type(row.get("bleu")) in (int, float) and type(row.get("to")) in (int, type(None)) for row in rows)
        for scores in tests.values()
    )


def report(run: str, name: str, scores: dict[str, Any], json: bool) -> None:
    """Print the scores, and keep them in the run folder where one was given.

    They stand under the name of the text, and the picture of BLEU by length has a line for each.
    """
    folder = Path(run).expanduser()
    if (folder / "checkpoints").is_dir():
        path = folder / "result.json"
        result = read_json(path) if path.exists() else {}
        if not _are_tests(tests := result.get("tests", {})):
            raise InputError(f"{str(path)!r} holds tests of another kind; move it away, and test again")
        tests |= {name: scores}
        write_beside(path, dumps({**result, "tests": tests}, indent=2, ensure_ascii=False) + "\n")
        tables = {text: [found["by_length"]] for text, found in tests.items()}
        draw_bleu_by_length(tables, folder / "bleu_by_length.png")
    if json:
        print(dumps({"text": name, **scores}))
        return
    print(f"{name}: {scores['sentences']:,} sentences")
    for figure in ("bleu", "bleu_lowercase", "chrf", "ter"):
        print(f"  {figure.replace('_', ' '):<16}{scores[figure]:6.2f}   {scores[f'{figure}_signature']}")
    print(f"  {'exact match':<16}{scores['exact_match']:6.1%}")
    print("  words of the source    sentences      BLEU")
    for row in scores["by_length"]:
        print(f"  {words(row):<22} {row['sentences']:>9,} {row['bleu']:>9.2f}")
