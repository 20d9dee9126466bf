"""A text, scored by a language model, for the command line."""

from json import dumps

from seqmodels.checkpoint import load, read_checkpoint
from seqmodels.data import TextDataModule
from seqmodels.errors import InputError
from seqmodels.evaluation import Reading, evaluate
from seqmodels.tasks.record import RECORD

UNITS = {"char": "characters", "byte": "bytes", "bpe": "subwords", "word": "words"}
"""What a token is, by the name of its tokenizer."""


def test_text(
    run: str,
    data: str | None,
    subset: str | None,
    column: str | None,
    split: str | None,
    carry: bool | None,
    length: int | None,
    reading: Reading,
    json: bool,
) -> dict[str, float]:
    """Score a text and print the figures; arguments as of the subcommand `test`."""
    if data is None and (subset is not None or column is not None):
        raise InputError("--subset and --column are of the text that --data names; give that, too")
    task = load(run)
    trained_on = dict(read_checkpoint(run)[RECORD]["data"] or {"init_args": {}})["init_args"]
    if "data" not in trained_on and (data is None or reading.dynamic is not None):
        need = "give --data" if data is None else "--dynamic needs it, and is for runs"
        raise InputError(f"{run!r} does not say what it was trained on; {need}")
    arguments = dict(trained_on)
    if data is not None:
        arguments |= {"data": data, "subset": subset, "column": column or "text"}
    if carry is not None and carry != arguments.get("carry"):  # what belongs to the other way of reading
        arguments |= {"carry": carry, "stride": None, "shuffle": None, "documents": "joined"}
    if length is not None:
        arguments["length"] = length
    text = TextDataModule(**arguments | {"tokenizer": task.tokenizer})
    preferred = ("test", "whole", "validation") if data is not None else ("test", "validation")
    part: str = split or next(name for name in preferred if name in text.corpus.splits)
    source = TextDataModule(**trained_on | {"tokenizer": task.tokenizer}) if reading.dynamic is not None else None
    figures = evaluate(task, text, part, reading, source)
    kind = trained_on.get("tokenizer")
    unit = UNITS.get(kind, "tokens") if isinstance(kind, str) else "tokens"
    name, unknown = f"{text.corpus.origin}, {part}", text.facts(part).unknown
    if json:
        about = {"text": name, "unit": unit, "reading": reading.describe(text), "unknown": unknown}
        print(dumps({**about, **figures}))
        return figures
    print(f"{name}: {figures['tokens']:,} {unit} scored once each, {reading.describe(text)}")
    for figure in ("nats_per_token", "perplexity", "bits_per_character", "bits_per_byte"):
        print(f"  {figure.replace('_', ' '):<20} {figures[figure]:.4f}")
    if unknown:
        print(f"  {unknown:,} tokens are unknown to the vocabulary")
    return figures
