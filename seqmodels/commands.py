"""What the subcommands do, as plain functions."""

import sys
from dataclasses import replace
from json import dumps as to_json
from typing import Any, Literal

from seqmodels import sharing
from seqmodels.checkpoint import load
from seqmodels.decoding import Beam, Sampling
from seqmodels.decoding.beam import Normalization
from seqmodels.errors import InputError
from seqmodels.evaluation import Reading
from seqmodels.flags import given_of, search_or_draws
from seqmodels.inference import for_use
from seqmodels.lines import one_line, parsed_bias, parts, read_lines
from seqmodels.tasks import LanguageModel, SequenceTask
from seqmodels.tasks.dynamic import Dynamic
from seqmodels.tasks.generation import continuations, token_bias
from seqmodels.tasks.scoring import scores
from seqmodels.testing import test_text
from seqmodels.translating import (
    check_attention_map,
    load_translators,
    test_translations,
    translated,
    translates,
    write_attention_map,
)


def generate(
    run: str,
    prompt: str = "",
    prompts: str | None = None,
    samples: int = 1,
    max_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    logit_bias: str | None = None,
    stop: list[str] | None = None,
    seed: int | None = None,
    bf16: bool = False,
    int8: bool = False,
    json: bool = False,
) -> None:
    """Write text with a trained model, as it is drawn.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        prompt: text to continue; without it, the beginning of a document.
        prompts: a file with a prompt on each line, in place of --prompt; they are continued in batches.
        samples: how many texts to write for each prompt.
        max_tokens: how many tokens to write at most, 500 where not given; fewer where the model ends the document.
        temperature: below 1 more predictable, above 1 more surprising, 0 always the likeliest token.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from tokens at least this share as likely as the likeliest.
        repetition_penalty: above 1, tokens that the text already has become less likely.
        logit_bias: numbers added to the logits of tokens, as JSON: '{"e": -100}' writes no e, and "<eos>" stands for
            the end of the document.
        stop: end the text before this string; may be given several times.
        seed: the same seed writes the same text.
        bf16: compute with weights of half precision, faster where the processor or GPU is made for it.
        int8: compute with weights of eight bits in large linear layers, on a processor.
        json: print a line of JSON for each text, with its prompt, its number among the samples, and what was written.
    """
    if prompts is not None and prompt:
        raise InputError("--prompt and --prompts were both given; expected one of them")
    bias = parsed_bias(logit_bias)
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    given = [prompt] if prompts is None else read_lines(prompts)
    task = _language_model(run)
    for_use(task, bf16=bf16, int8=int8)
    sampling = replace(sampling, logit_bias=token_bias(task.tokenizer, bias))
    if len(given) == samples == 1 and not json:
        sys.stdout.write(given[0])
        for piece in task.generate(given[0], max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop or ()):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    written = continuations(task, given, samples, max_tokens, sampling, seed, stop or ())
    for place, (start, texts) in enumerate(zip(given, written, strict=True), 1):
        for number, text in enumerate(texts, 1):
            if json:
                print(to_json({"prompt": start, "sample": number, "text": text}, ensure_ascii=False))
            else:
                which = [f"prompt {place}"] * (len(given) > 1) + [f"sample {number}"] * (samples > 1)
                print(f"--- {', '.join(which)} ---\n{start}{text}")
        sys.stdout.flush()


def score(run: str, eos: bool = False, json: bool = False) -> None:
    """Score each line of standard input as a document of its own: how likely it is to a trained model. Prints a line
    for each, in their order, with five columns between tabs: nats (minus the logarithm of the probability, so the less
    the likelier), tokens, nats per token, bits per byte, and the line. An empty line has 0 nats and 0 tokens, and means
    of nan.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        eos: score the end of the document after each line, too.
        json: print a line of JSON for each, with null for a mean of nothing, and how many tokens were unknown.
    """
    task = _language_model(run)
    unknown, first = 0, 1
    if sys.stdin.buffer.isatty():
        print("reading lines from here, to the end of input (Ctrl-D); or give a file with: < FILE", file=sys.stderr)
    for lines in parts(sys.stdin.buffer, "standard input"):
        for line, found in zip(lines, scores(task, lines, eos, first), strict=True):
            print(found.as_json(line) if json else found.as_columns(line))
            unknown += found.unknown
        sys.stdout.flush()
        first += len(lines)
    if unknown:
        print(f"{unknown:,} tokens are unknown to the vocabulary", file=sys.stderr)


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


def test(
    run: str,
    data: tuple[str, ...] | None = None,
    subset: str | None = None,
    column: str | None = None,
    split: Literal["train", "validation", "test", "whole"] | None = None,
    carry: bool | None = None,
    lanes: int | None = None,
    length: int | None = None,
    stride: int | None = None,
    dynamic: bool = False,
    dynamic_lr: float | None = None,
    dynamic_decay: float | None = None,
    dynamic_piece: int | None = None,
    beam: int | None = None,
    bf16: bool = False,
    int8: bool = False,
    json: bool = False,
) -> dict[str, Any]:
    """Score text with a trained model: nats per token, perplexity, bits per character and per byte; or sentences and
    their translations with a translator: BLEU, chrF and TER by sacrebleu, and BLEU by length.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        data: a text file, a directory or a hub name, or for a translator two files, sources and their translations;
            what the run was trained on where not given.
        subset: configuration of a hub dataset.
        column: column of a table or hub dataset that holds the text, "text" where not given.
        split: which part to score; where not given, the test part if there is one, then files of --data as a
            whole, then the validation part.
        carry: carry the state through the text, or with --no-carry read windows; as in training where not given.
        lanes: with carry, in how many lanes the text is read, 8 where not given; 1 gives every token its whole past.
        length: tokens of a window; as in training where not given.
        stride: how many tokens a window scores, those before them being context; all of them where not given.
        dynamic: dynamic evaluation, the model learns from the text after each piece was scored.
        dynamic_lr: how fast, relative to the size of gradients in training; 1e-4 where not given.
        dynamic_decay: share of the way back to the trained weights at each piece; 2e-3 where not given.
        dynamic_piece: with carry, how many tokens a piece has, 20 where not given; a window's stride without.
        beam: for a translator, how many beginnings of a translation are followed side by side, 5 where not given.
        bf16: for a translator, compute with weights of half precision.
        int8: for a translator, compute with weights of eight bits in large linear layers, on a processor.
        json: print one line of JSON.
    """
    speed = given_of({"lr": dynamic_lr, "decay": dynamic_decay})
    if speed and not dynamic:
        raise InputError(f"--dynamic-{next(iter(speed))} is for dynamic evaluation; give --dynamic, too")
    reading = Reading(lanes, stride, Dynamic(**speed) if dynamic else None, dynamic_piece)
    translator = translates(run)
    of_text = {"column": column, "carry": carry, "lanes": lanes, "length": length, "stride": stride}
    of_pairs = {"beam": beam, "bf16": bf16 or None, "int8": int8 or None}
    useless = of_text | {"dynamic": dynamic or None} if translator else of_pairs
    if given := given_of(useless):
        kind = "a translator" if translator else "a language model"
        raise InputError(
            f"--{next(iter(given))} was given, and {run!r} is {kind}, which has no use for it; leave it out"
        )
    if translator:
        return test_translations(run, data, subset, split, Beam(**given_of({"size": beam})), bf16, int8, json)
    if data is not None and len(data) > 1:
        raise InputError(f"--data was given {len(data)} names, and {run!r} is a language model; expected one")
    return test_text(run, data[0] if data else None, subset, column, split, carry, length, reading, json)


def validate(run: str) -> dict[str, Any]:
    """Score the validation text that a run kept apart: nats per token, perplexity, bits per character and per byte, or
    with a translator BLEU, chrF and TER.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
    """
    return test(run, split="validation")


def share(run: str, folder: str) -> None:
    """Write a trained model into a new folder to be given to others, which every command takes in place of a run. It
    holds the weights as safetensors, all else as JSON, a page about the model, and nothing of where it was made.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        folder: where to write it; nothing is written over.
    """
    print(sharing.share(run, folder))


def _language_model(run: str) -> LanguageModel:
    task: SequenceTask = load(run)
    if not isinstance(task, LanguageModel):
        raise InputError(f"{run!r} is a {type(task).__name__}, not a language model; use seqmodels {task.command}")
    return task
