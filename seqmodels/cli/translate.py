"""The command `translate`."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from seqmodels.analysis.attention import alignment, attention_page
from seqmodels.batch import UNK
from seqmodels.checkpoints.saved import Loaded, load_model
from seqmodels.cli.engines import TranslationEngine, translator_engine
from seqmodels.cli.parser import given_of
from seqmodels.cli.text_io import PART, WORKERS_PART, check_output, parts_of, write_output
from seqmodels.decoding import Beam, Draws, Sampling
from seqmodels.decoding.beam_search import Normalization
from seqmodels.errors import InputError, one_line
from seqmodels.files import to_json
from seqmodels.interop.ctranslate2.engine import check_search
from seqmodels.nn.quantization import for_use
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.batch_translation import Translates, Translation, positions, translations
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel
from seqmodels.tasks.prefix_lm import PrefixLM
from seqmodels.tasks.sequence_model import SequenceModel
from seqmodels.tasks.workers import Workers


def translate(
    run: str,
    file: str | None = None,
    beam: int | None = None,
    length_penalty: float | None = None,
    normalization: Normalization | None = None,
    coverage_penalty: float | None = None,
    n_best: int | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int | None = None,
    bf16: bool = False,
    int8: bool = False,
    ensemble: list[str] | None = None,
    source: str | None = None,
    target: str | None = None,
    attention_map: str | None = None,
    exhaustive: bool = False,
    engine: TranslationEngine = "torch",
    workers: int | None = None,
    json: bool = False,
) -> None:
    """Translate each line of a file or of standard input, and print a line for each, in order; empty lines stay empty.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        file: lines to translate; by default those of standard input.
        beam: beam size; 1 for greedy search. By default this, like other settings, is what a public model comes with,
            or else 5.
        length_penalty: exponent of the length that divides the log-probability (default: 1); 0 prefers short
            translations.
        normalization: length, the number of tokens (default), or gnmt, (5 + tokens) / 6.
        coverage_penalty: weight of the penalty for parts of the source without attention.
        n_best: print so many translations of each line, each as number of the line, score, text, between tabs.
        min_length: minimum number of tokens of a translation.
        max_length: maximum number of tokens (default: twice the length of the source, plus 10, or the longest target of
            training where that is longer).
        samples: sample so many translations of each line instead of searching, each printed as number of the line,
            mean log-probability, text, between tabs.
        temperature: with --samples, divides the logits (default: 1).
        top_k: with --samples, sample from the k most probable tokens only.
        top_p: with --samples, sample from the most probable tokens whose probabilities add up to this.
        min_p: with --samples, sample from tokens at least this fraction as probable as the most probable one.
        seed: with --samples, random seed.
        bf16: weights in bfloat16, faster on hardware that supports it.
        int8: weights of large linear layers in 8 bits, on a CPU.
        ensemble: another run, whose probabilities are averaged with those of the first; may be given several times.
        source: language to translate from; refused if the run has another.
        target: language to translate to, likewise.
        attention_map: an HTML file with the attention of each sentence.
        exhaustive: search until no unfinished translation can become better.
        engine: what computes, on the CPU: torch; onnx, for the decoder; or ctranslate2, for Transformers. The model is
            converted once.
        workers: processes, each with a batch on a core of its own; 1 for one batch by all threads. By default what is
            faster, which the first batches tell.
        json: print a line of JSON for each line, with all translations and their scores.
    """
    search = {
        "size": beam, "length_penalty": length_penalty, "normalization": normalization,
        "coverage_penalty": coverage_penalty, "n_best": n_best, "min_length": min_length,
        "exhaustive": exhaustive or None,
    }  # fmt: skip
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    given = given_of(search), samples, given_of(sampling), given_of({"seed": seed}), max_length
    how = search_or_draws(*given)  # refused before anything is loaded
    if engine != "torch":
        check_engine(how, engine, ensemble, attention_map, bf16, workers)
    models = load_translators([run, *(ensemble or [])], source, target, bf16, int8 and engine == "torch")
    how = search_or_draws(*given, own=search_of(models[0]))
    if engine == "ctranslate2":
        check_search(how)
    if engine == "torch":
        cores = Workers(workers, models[0].device)
        by: By = partial(translations, workers=cores)
        part = PART if cores.count == 1 else WORKERS_PART
    else:
        by, part = engine_of(models[0], run, engine, int8), LARGE_PART
    if attention_map is not None:
        check_attention_map(models[0], attention_map)
    shown: list[tuple[str, str]] = []
    for number, (line, found) in enumerate(translated(models, how, file, by, part), 1):
        if json:
            print(to_json({"source": line, "translations": [one._asdict() for one in found]}))
        elif samples is not None or (n_best or 1) > 1:
            for one in found:
                print(f"{number}\t{one.score:.4f}\t{one_line(one.text)}")
        else:
            print(one_line(found[0].text) if found else "")
        sys.stdout.flush()
        if attention_map is not None and found and found[0].text:
            shown.append((line, found[0].text))
    if attention_map is not None:
        write_attention_map(models[0], shown, attention_map)


def search_or_draws(
    search: dict[str, Any], samples: int | None, sampling: dict[str, Any], seed: dict[str, int],
    max_length: int | None, own: Mapping[str, Any] | None = None,
) -> Beam | Draws:  # fmt: skip
    """Beam search or sampling, whose settings exclude each other; in a search those that the model came with, `own`,
    unless others are given.
    """
    usual = dict(own or {})
    if max_length is None:
        max_length = usual.pop("max_length", None)
    if samples is not None and search:
        flag = next(iter(search)).replace("size", "beam").replace("_", "-")
        raise InputError(f"--{flag} is for a search, and --samples draws at random; give one of them")
    if samples is not None:
        return Draws(samples, Sampling(**sampling), **seed, max_length=max_length)
    if unused := [*sampling, *seed]:
        raise InputError(f"--{unused[0].replace('_', '-')} is for translations that are drawn; give --samples, too")
    return Beam(**usual | search | {"max_length": max_length})


def search_of(model: Translates) -> Mapping[str, Any]:
    """The settings of a search that a translator came with."""
    return (model.search or {}) if isinstance(model, EncoderDecoderModel) else {}


def load_translators(
    runs: Sequence[str], source: str | None = None, target: str | None = None, bf16: bool = False, int8: bool = False
) -> list[Translates]:
    """Trained translators, for languages that are checked where they are given; `bf16`, `int8`: see `for_use`.

    Raises:
        InputError: a run is no translator, or one of other languages.
    """
    models = [load_model(run) for run in runs]
    for model in models:
        for_use(model.task, bf16=bf16, int8=int8)
    return [as_translator(run, model, source, target) for run, model in zip(runs, models, strict=True)]


def as_translator(
    run: str, model: Loaded[SequenceModel], source: str | None = None, target: str | None = None
) -> Translates:
    """A loaded model as a translator; see `load_translators`."""
    task, trained = model.task, model.data_arguments
    for side, wanted in (("source", source), ("target", target)):
        if wanted is not None and trained.get(side) not in (None, wanted):
            raise InputError(
                f"{run!r} translates from {trained['source']!r} to {trained['target']!r}, and {side}={wanted!r} "
                "was asked for; take another run, or leave the language out"
            )
    if isinstance(task, EncoderDecoderModel):
        return task
    if isinstance(task, AutoregressiveModel) and trained.get("layout") == "joined":
        return PrefixLM(task)
    raise InputError(
        f"{run!r} is a {task.kind} that was not trained to translate; expected a run of a Translator, or of "
        "a LanguageModel with layout='joined'"
    )


LARGE_PART = 2048
"""Lines that are read, and given to an engine at once."""
MAX_ALIGNMENTS = 100
"""Maximum number of sentences on a page of attention."""


By = Callable[[Sequence[Translates], Sequence[str], Beam | Draws, int], list[list[Translation]]]


def check_engine(
    how: Beam | Draws, engine: TranslationEngine, ensemble: list[str] | None, attention_map: str | None, bf16: bool,
    workers: int | None = None,
) -> None:  # fmt: skip
    """Refuse what an engine cannot do, before anything is loaded."""
    given = {"ensemble": ensemble, "attention-map": attention_map, "bf16": bf16, "workers": workers}
    for name, value in given.items():
        if value:
            raise InputError(f"--{name} and --engine {engine} were both given; leave out one of them")
    if engine == "ctranslate2":
        check_search(how)


def engine_of(model: Translates, run: str, engine: TranslationEngine, int8: bool) -> By:
    """Translation by another engine."""
    if not isinstance(model, EncoderDecoderModel):
        raise InputError(
            f"{run!r} is a language model that translates, and --engine {engine} is for a Translator; leave it out"
        )
    by = translator_engine(model, run, engine, int8)
    return lambda models, texts, how, number: by.translations(texts, how, number)


def translated(
    models: Sequence[Translates], how: Beam | Draws, file: str | None, by: By = translations, part: int = PART
) -> Iterator[tuple[str, list[Translation]]]:
    """Each line of a file, or of standard input, with its translations by one model or an ensemble, in order."""
    unknown = cut = unfinished = number = 0
    longest = positions(models)
    for lines in parts_of(file, part):
        for ids in models[0].source_tokenizer.encode_batch(lines):
            unknown += ids.count(UNK)
            cut += longest is not None and len(ids) >= longest
        for line, found in zip(lines, by(models, lines, how, number), strict=True):
            unfinished += sum(not one.complete for one in found)
            yield line, found
        number += len(lines)
    if unknown:
        print(f"{unknown:,} tokens of the source are unknown to the vocabulary", file=sys.stderr)
    if cut:
        print(f"{cut:,} lines were longer than the positions of the network, and cut there", file=sys.stderr)
    if unfinished:
        print(
            f"{unfinished:,} translations were cut at their maximum number of tokens; --max-length allows more",
            file=sys.stderr,
        )


def check_attention_map(model: Translates, path: str) -> None:
    """Refuse a page of attention that could not be written, or made of this model, before any translation."""
    check_output("--attention-map", path)
    if not isinstance(model, EncoderDecoderModel):
        raise InputError("--attention-map is for translators with an encoder; this one is a language model")
    if not model.attends:
        raise InputError("--attention-map was given, and this translator's decoder sees one vector for the source")


def write_attention_map(model: Translates, pairs: Sequence[tuple[str, str]], path: str) -> None:
    """A page with the attention of the first sentences and their translations."""
    assert isinstance(model, EncoderDecoderModel)
    page = attention_page(alignment(model, source, target) for source, target in pairs[:MAX_ALIGNMENTS])
    write_output("--attention-map", path, page)
    more = f", the first of {len(pairs):,}" if len(pairs) > MAX_ALIGNMENTS else ""
    print(f"attention of {min(len(pairs), MAX_ALIGNMENTS):,} sentences{more}: {path}", file=sys.stderr)
