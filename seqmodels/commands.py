"""What the subcommands do, as plain functions."""

import sys
from dataclasses import replace
from json import dumps as to_json
from typing import Literal

from seqmodels.checkpoint import load, read_checkpoint
from seqmodels.data import TextDataModule
from seqmodels.decoding import Sampling
from seqmodels.errors import InputError
from seqmodels.evaluation import Reading, evaluate
from seqmodels.lines import parsed_bias, parts, read_lines
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.base import RECORD
from seqmodels.tasks.dynamic import Dynamic
from seqmodels.tasks.generation import continuations, token_bias
from seqmodels.tasks.scoring import scores

UNITS = {"char": "characters", "byte": "bytes", "bpe": "subwords", "word": "words"}
"""What a token is, by the name of its tokenizer."""


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
        json: print a line of JSON for each text, with its prompt, its number among the samples, and what was written.
    """
    if prompts is not None and prompt:
        raise InputError("--prompt and --prompts were both given; expected one of them")
    bias = parsed_bias(logit_bias)
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    given = [prompt] if prompts is None else read_lines(prompts)
    task = load(run)
    assert isinstance(task, LanguageModel)
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
    task = load(run)
    assert isinstance(task, LanguageModel)
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


def test(
    run: str,
    data: str | None = None,
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
    json: bool = False,
) -> dict[str, float]:
    """Score text with a trained model: nats per token, perplexity, bits per character and per byte.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        data: a text file, a directory or a hub name; what the run was trained on where not given.
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
        json: print one line of JSON.
    """
    speed = {k: v for k, v in {"lr": dynamic_lr, "decay": dynamic_decay}.items() if v is not None}
    if speed and not dynamic:
        raise InputError(f"--dynamic-{next(iter(speed))} is for dynamic evaluation; give --dynamic, too")
    if data is None and (subset is not None or column is not None):
        raise InputError("--subset and --column are of the text that --data names; give that, too")
    reading = Reading(lanes, stride, Dynamic(**speed) if dynamic else None, dynamic_piece)
    task = load(run)
    trained_on = dict(read_checkpoint(run)[RECORD]["data"] or {"init_args": {}})["init_args"]
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
    source = TextDataModule(**trained_on | {"tokenizer": task.tokenizer}) if dynamic else None
    figures = evaluate(task, text, part, reading, source)
    kind = trained_on.get("tokenizer")
    unit = UNITS.get(kind, "tokens") if isinstance(kind, str) else "tokens"
    name, unknown = f"{text.corpus.origin}, {part}", text.facts(part).unknown
    if json:
        about = {"text": name, "unit": unit, "reading": reading.describe(text), "unknown": unknown}
        print(to_json({**about, **figures}))
        return figures
    print(f"{name}: {figures['tokens']:,} {unit} scored once each, {reading.describe(text)}")
    for figure in ("nats_per_token", "perplexity", "bits_per_character", "bits_per_byte"):
        print(f"  {figure.replace('_', ' '):<20} {figures[figure]:.4f}")
    if unknown:
        print(f"  {unknown:,} tokens are unknown to the vocabulary")
    return figures


def validate(run: str) -> dict[str, float]:
    """Score the validation text that a run kept apart: nats per token, perplexity, bits per character and per byte.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
    """
    return test(run, split="validation")
