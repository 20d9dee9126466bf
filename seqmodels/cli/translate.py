"""Translation on the command line: a stream of lines through a model, and the scores of a text."""

import sys
from collections.abc import Iterator, Sequence
from json import dumps as to_json
from pathlib import Path
from typing import Any

from seqmodels.analysis import alignment
from seqmodels.analysis.attention import attention_page
from seqmodels.batch import UNK
from seqmodels.cli.models import load_translators
from seqmodels.cli.parser import given_of
from seqmodels.cli.text_io import parts
from seqmodels.decoding import Beam, Draws, Sampling
from seqmodels.decoding.beam_search import Normalization
from seqmodels.errors import InputError, one_line
from seqmodels.files import write_text
from seqmodels.tasks import Translator
from seqmodels.tasks.batch_translation import Translates, Translation, positions, translations


def search_or_draws(
    search: dict[str, Any],
    samples: int | None,
    sampling: dict[str, Any],
    seed: dict[str, int],
    max_length: int | None,
) -> Beam | Draws:
    """How to translate, of which the user gave the one kind of settings or the other."""
    if samples is not None and search:
        flag = next(iter(search)).replace("size", "beam").replace("_", "-")
        raise InputError(f"--{flag} is for a search, and --samples draws at random; give one of them")
    if samples is not None:
        return Draws(samples, Sampling(**sampling), **seed, max_length=max_length)
    if unused := [*sampling, *seed]:
        raise InputError(f"--{unused[0].replace('_', '-')} is for translations that are drawn; give --samples, too")
    return Beam(**search, max_length=max_length)


def translate(
    run: str,
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
    json: bool = False,
) -> None:
    """Translate each line of standard input, and print a line for each, in their order; an empty line stays empty.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        beam: how many beginnings of a translation are followed side by side, 5 where not given; 1 takes the likeliest
            token each time.
        length_penalty: power of the length that the logarithm of the probability is divided by, 1 where not given; 0
            prefers short ones.
        normalization: length, by the number of tokens, which is meant where not given; or gnmt, by (5 + tokens) / 6.
        coverage_penalty: how much it counts against a translation to leave parts of the source without attention.
        n_best: print so many translations of each line, each with its score before it and a tab between.
        min_length: fewest tokens of a translation.
        max_length: most tokens; 10 more than twice as many as the source has where not given.
        samples: draw so many translations of each line at random instead of searching for the likeliest, each with its
            mean log-probability before it and a tab between.
        temperature: with --samples, below 1 more predictable, above 1 more surprising, 1 where not given.
        top_k: with --samples, draw from the k likeliest tokens only.
        top_p: with --samples, draw from the likeliest tokens that together have this probability.
        min_p: with --samples, draw from tokens at least this share as likely as the likeliest.
        seed: with --samples, the same seed draws the same translations.
        bf16: compute with weights of half precision, faster where the processor or GPU is made for it.
        int8: compute with weights of eight bits in large linear layers, on a processor.
        ensemble: another run, whose probabilities are averaged with those of the first; may be given several times.
        source: language to translate from, to make sure that the run is of it.
        target: language to translate to, likewise.
        attention_map: an HTML file to be written, which shows what each word attended to.
        json: print a line of JSON for each line, with all of its translations and their scores.
    """
    search = {
        "size": beam, "length_penalty": length_penalty, "normalization": normalization,
        "coverage_penalty": coverage_penalty, "n_best": n_best, "min_length": min_length,
    }  # fmt: skip
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    how = search_or_draws(given_of(search), samples, given_of(sampling), given_of({"seed": seed}), max_length)
    models = load_translators([run, *(ensemble or [])], source, target, bf16, int8)
    if attention_map is not None:
        check_attention_map(models[0], attention_map)
    shown: list[tuple[str, str]] = []
    for line, found in translated(models, how):
        if json:
            print(to_json({"source": line, "translations": [one._asdict() for one in found]}, ensure_ascii=False))
        elif samples is not None or (n_best or 1) > 1:
            for one in found:
                print(f"{one.score:.4f}\t{one_line(one.text)}")
        else:
            print(one_line(found[0].text) if found else "")
        sys.stdout.flush()
        if attention_map is not None and found and found[0].text:
            shown.append((line, found[0].text))
    if attention_map is not None:
        write_attention_map(models[0], shown, attention_map)


PART = 256
"""Lines that are read, sorted by length and translated at a time."""
SHOWN = 100
"""Most sentences on a page of attention."""


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
    if not model.attends:
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
        write_text(Path(path).expanduser(), page)
    except OSError as error:
        raise InputError(f"cannot write {path!r}: {error.strerror or error}; give another --attention-map") from error
    more = f", the first of {len(pairs):,}" if len(pairs) > SHOWN else ""
    print(f"attention of {min(len(pairs), SHOWN):,} sentences{more}: {path}", file=sys.stderr)
