"""The commands `test` and `validate`."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

from seqmodels.analysis.ppmd import ppmd_bits_per_byte
from seqmodels.checkpoints.load import check_text, load_with_origin
from seqmodels.checkpoints.saved import Loaded
from seqmodels.cli.kept_scores import keep_scores
from seqmodels.cli.mixing import mix_of
from seqmodels.cli.parser import given_of
from seqmodels.cli.text_io import PART, WORKERS_PART, progress, read_lines
from seqmodels.cli.translate import as_translator, load_translators
from seqmodels.data import Corpus, TextDataModule, TranslationDataModule
from seqmodels.decoding import Beam
from seqmodels.environment import describe_environment
from seqmodels.errors import InputError
from seqmodels.files import to_json
from seqmodels.metrics import bleu_by_length, corpus_scores, length_label
from seqmodels.nn.quantization import for_use
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.batch_translation import Translates, Translation, translations
from seqmodels.tasks.dynamic_evaluation import Dynamic
from seqmodels.tasks.mixing import mixed
from seqmodels.tasks.workers import Workers
from seqmodels.training.evaluate import Reading, evaluate


def test(
    run: str,
    data: tuple[str, ...] | None = None,
    subset: str | None = None,
    column: str | None = None,
    split: str | None = None,
    carry: bool | None = None,
    lanes: int | None = None,
    length: int | None = None,
    stride: int | None = None,
    dynamic: bool = False,
    dynamic_lr: float | None = None,
    dynamic_decay: float | None = None,
    dynamic_piece: int | None = None,
    counts: str | None = None,
    counts_weight: float | None = None,
    cache: int | None = None,
    cache_weight: float | None = None,
    cache_sharpness: float | None = None,
    beam: int | None = None,
    bf16: bool = False,
    int8: bool = False,
    ensemble: list[str] | None = None,
    references: tuple[str, ...] | None = None,
    bleu_tokenizer: str | None = None,
    workers: int | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Score text with a trained language model (nats per token, perplexity per token and per word, bits per character
    and byte), or a translator on sentences with translations (BLEU, chrF, chrF++ and TER by sacrebleu, and BLEU by
    length). Figures are kept in `result.json` of a run, each with its command.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        data: a text file, directory or hub name, for a translator also two files, sources and translations; by default
            the data of the run.
        subset: configuration of a hub dataset.
        column: text column of a table or hub dataset (default: text).
        split: the part to score: train, validation, test, whole, or a test set by its name; by default the test part,
            each of several test sets for itself, else all of --data, else the validation part.
        carry: carry the state through the text, or with --no-carry read windows; by default as in training.
        lanes: with carry, number of lanes (default: 8); 1 gives every token its whole past.
        length: tokens of a window; by default as in training.
        stride: tokens that a window scores, the others being context; by default all.
        dynamic: dynamic evaluation: the model learns from each piece of text after scoring it.
        dynamic_lr: its learning rate, relative to the size of gradients in training (default: 1e-4).
        dynamic_decay: decay towards the trained weights at each piece (default: 2e-3).
        dynamic_piece: with carry, tokens of a piece (default: 20); else it is the stride.
        counts: run of an NGram with the same vocabulary, whose probabilities are mixed with those of the model.
        counts_weight: their share (default: 0.2).
        cache: positions of a neural cache (Grave et al. 2017), which predicts what followed similar positions.
        cache_weight: its share (default: 0.1).
        cache_sharpness: how much more similar positions count (default: 0.3).
        beam: for a translator, beam size (default: 5).
        bf16: for a translator, weights in bfloat16.
        int8: for a translator, weights of large linear layers in 8 bits, on a CPU.
        ensemble: for a translator, another run, whose probabilities are averaged with those of the first; may be given
            several times.
        references: for a translator, text files with further reference translations, a line for each sentence.
        bleu_tokenizer: for a translator, 13a, intl, zh, ja-mecab, ko-mecab, char, flores200, moses or none; by default
            the one that is usual for the language.
        workers: for a translator, processes, each with a batch on a core of its own; 1 for one batch by all threads. By
            default what is faster, which the first batches tell.
        json: print one line of JSON.
    """
    speed = given_of({"lr": dynamic_lr, "decay": dynamic_decay})
    if speed and not dynamic:
        raise InputError(f"--dynamic-{next(iter(speed))} is for dynamic evaluation; give --dynamic, too")
    reading = Reading(lanes, stride, Dynamic(**speed) if dynamic else None, dynamic_piece)
    mix = mix_of(counts, cache, counts_weight=counts_weight, cache_weight=cache_weight, cache_sharpness=cache_sharpness)
    model = load_with_origin(run)
    arguments = model.data_arguments
    translator = "layout" in arguments
    of_text = {"column": column, "carry": carry, "lanes": lanes, "length": length, "stride": stride}
    of_pairs = {
        "beam": beam, "bf16": bf16 or None, "int8": int8 or None, "ensemble": ensemble,
        "references": references, "bleu-tokenizer": bleu_tokenizer, "workers": workers,
    }  # fmt: skip
    if given := given_of(
        of_text | {"dynamic": dynamic or None, "counts": counts, "cache": cache} if translator else of_pairs
    ):
        kind = "a translator" if translator else "a language model"
        raise InputError(
            f"--{next(iter(given))} was given, and {run!r} is {kind}, which has no use for it; leave it out"
        )
    if data is None and "data" not in arguments:
        raise InputError(f"{run!r} does not say what it was trained on; give --data")
    if data is not None:
        arguments |= {"data": data[0] if len(data) == 1 else list(data), "subset": subset}
    wanted = [split] if split else ["test", "whole", "validation"] if data is not None else ["test", "validation"]
    if translator:
        for_use(model.task, bf16=bf16, int8=int8)
        others = load_translators(ensemble or [], arguments.get("source"), arguments.get("target"), bf16, int8)
        search, further = Beam(**given_of({"size": beam})), references or ()
        return test_translations(
            run, model, arguments, wanted, search, json, further, bleu_tokenizer, workers, others,
            "".join(f", {way}" for way, so in _ways(beam, bf16, int8, others, further, bleu_tokenizer).items() if so),
        )  # fmt: skip
    if data is not None and len(data) > 1:
        raise InputError(f"--data was given {len(data)} names, and {run!r} is a language model; expected one")
    if data is not None:
        arguments["column"] = column or "text"
    elif subset is not None or column is not None:
        raise InputError("--subset and --column are of the text that --data names; give that, too")
    if carry is not None and carry != arguments.get("carry"):  # settings of the other way of reading
        arguments |= {"carry": carry, "stride": None, "shuffle": None, "documents": "joined"}
    told = ""
    if mix is not None:
        model, told = model._replace(task=mixed(model.task, mix)), f", {mix.describe()}"
    return test_text(run, model, arguments | given_of({"length": length}), wanted, reading, json, told)


def _ways(
    beam: int | None, bf16: bool, int8: bool, others: Sequence[Translates], further: Sequence[str],
    tokenizer: str | None,
) -> dict[str, bool]:  # fmt: skip
    """Ways to test a translator, in words, and whether each is taken."""
    return {
        f"beam of {beam}": beam not in (None, Beam().size), "bf16": bf16, "int8": int8,
        f"ensemble of {1 + len(others)}": bool(others),
        f"{1 + len(further)} references": bool(further), f"tokens of {tokenizer}": tokenizer is not None,
    }  # fmt: skip


def validate(
    run: str,
    data: tuple[str, ...] | None = None,
    subset: str | None = None,
    column: str | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Score the validation text of a run; see `test`, which scores other parts and has more options.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        data: another text, as for `test`; a run on data given in Python has none of its own.
        subset: configuration of a hub dataset.
        column: text column of a table or hub dataset (default: text).
        json: print one line of JSON.
    """
    return test(run, data, subset, column, split="validation", json=json)


UNIT_NAMES = {"char": "characters", "byte": "bytes", "bpe": "subwords", "word": "words"}
"""The unit that is a token, by the name of the tokenizer."""


def test_text(
    run: str, model: Loaded[SequenceTask], arguments: dict[str, Any], wanted: Sequence[str], reading: Reading,
    json: bool, told: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Score the first of the wanted splits that a text has, and print the figures; `arguments` are of its data module,
    the others as of `test`. What is told of the reading ends with `told`.
    """
    task, trained_on = model.task, model.data_arguments
    if "data" not in trained_on and reading.dynamic is not None:
        raise InputError(f"{run!r} does not say what it was trained on; --dynamic needs it, and is for runs")
    text = TextDataModule(**arguments | {"tokenizer": task.tokenizer})
    check_text(model, text)
    trained_with = functools.cache(lambda: TextDataModule(**trained_on | {"tokenizer": task.tokenizer}))
    source = trained_with() if reading.dynamic is not None else None
    unit, found = UNIT_NAMES.get(str(trained_on.get("tokenizer")), "tokens"), dict[str, Any]()
    here = describe_environment(task.device)
    for part in parts_of(text.corpus, wanted):
        figures = evaluate(task, text, part, reading, source)
        with contextlib.suppress(InputError):  # the training text is elsewhere now
            figures |= ppmd_bits_per_byte(text if "train" in text.corpus.splits else trained_with(), text, part)
        found[part] = figures
        name, unknown = f"{text.corpus.origin}, {part}", text.facts(part).unknown
        keep_scores(run, "tests", f"{name}, {reading.describe(text)}{told}", {"text": name, **figures}, here)
        if json:
            about = {"text": name, "unit": unit, "reading": reading.describe(text) + told, "unknown": unknown}
            print(to_json({**about, **figures}))
            continue
        print(f"{name}: {figures['tokens']:,} {unit} scored once each, {reading.describe(text)}{told}")
        for figure in ("nats_per_token", "perplexity", "perplexity_per_word", "bits_per_character", "bits_per_byte"):
            if figure in figures:
                print(f"  {figure.replace('_', ' '):<20} {figures[figure]:.4f}")
        if "ppmd_bits_per_byte" in figures:
            print(
                f"  {'bits of PPMd':<20} {figures['ppmd_bits_per_byte']:.4f} per byte, after reading the training text"
            )
        if unknown:
            print(f"  {unknown:,} tokens are unknown to the vocabulary")
    return found if len(found) > 1 else figures


def parts_of(corpus: Corpus, wanted: Sequence[str]) -> list[str]:
    """The first of the wanted splits that there is; in place of all test text, each of several test sets."""
    part = next((name for name in wanted if name in corpus.splits), wanted[0])
    return (corpus.test_sets if part == "test" else []) or [part]


def test_translations(
    run: str,
    model: Loaded[SequenceTask],
    arguments: dict[str, Any],
    wanted: Sequence[str],
    beam: Beam,
    json: bool,
    further: Sequence[str] = (),
    tokenizer: str | None = None,
    workers: int | None = None,
    others: Sequence[Translates] = (),
    told: str = "",
) -> dict[str, Any]:
    """Translate the first of the wanted splits that a text has, print and keep its scores; see `test_text`. The
    `others` are an ensemble with the model.
    """
    task = as_translator(run, model)
    module = TranslationDataModule(**arguments | {"tokenizer": task.tokenizer})  # only its text is read
    check_text(model, module)
    by, here = Workers(workers, task.device), describe_environment(model.task.device)
    settings, every = {"language": module.languages[1], "tokenizer": tokenizer}, dict[str, Any]()
    for part in parts_of(module.corpus, wanted):
        rows = module.corpus.rows(part)
        sources, references = list(rows["source"]), [list(rows["target"])]
        references += [read_lines(path, "a reference translation") for path in further]
        corpus_scores(references[0], *references, **settings)  # what cannot be scored is not translated
        best: list[Translation] = []
        size = PART if by.count == 1 else WORKERS_PART
        for first in progress(range(0, len(sources), size), "translating"):
            found = translations([task, *others], sources[first : first + size], beam, first, by)
            best += [one[0] if one else Translation("", 0.0, 0.0) for one in found]
        outputs = [one.text for one in best]
        every[part] = scores = corpus_scores(outputs, *references, **settings)
        scores |= {"beam": beam.size, "cut": sum(not one.complete for one in best)}
        scores["by_length"] = bleu_by_length(sources, outputs, *references, **settings)
        name = f"{module.origin}, {part}"
        keep_scores(run, "tests", name + told, {"text": name, **scores}, here)
        print_scores(name, scores, json)
    return every if len(every) > 1 else scores


def print_scores(name: str, scores: dict[str, Any], json: bool) -> None:
    """Print the scores of a text."""
    if json:
        print(to_json({"text": name, **scores}))
        return
    cut = f", {scores['cut']:,} cut at the maximum number of tokens" if scores["cut"] else ""
    print(f"{name}: {scores['sentences']:,} sentences, beam size {scores['beam']}{cut}")
    for figure in ("bleu", "bleu_lowercase", "chrf", "chrf++", "ter"):
        if figure in scores:
            print(f"  {figure.replace('_', ' '):<16}{scores[figure]:6.2f}   {scores[f'{figure}_signature']}")
    print(f"  {'exact match':<16}{scores['exact_match']:6.1%}")
    print("  words of the source    sentences      BLEU")
    for row in scores["by_length"]:
        print(f"  {length_label(row):<22} {row['sentences']:>9,} {row['bleu']:>9.2f}")
