"""What the subcommands do, as plain functions."""

import sys
from typing import Literal

import lightning.pytorch as pl

from seqmodels.checkpoint import load, read_checkpoint
from seqmodels.data import TextDataModule
from seqmodels.data.loader import loader
from seqmodels.decoding import Sampling
from seqmodels.environment import choose_accelerator, quiet
from seqmodels.errors import InputError
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.base import RECORD


def generate(
    run: str,
    prompt: str = "",
    max_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> None:
    """Write text with a trained model, as it is drawn.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        prompt: text to continue; without it, the beginning of a document.
        max_tokens: how many tokens to write at most, 500 where not given; fewer where the model ends the document.
        temperature: below 1 more predictable, above 1 more surprising, 0 always the likeliest token.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the likeliest tokens that together have this probability.
        seed: the same seed writes the same text.
    """
    if max_tokens is not None and max_tokens < 0:
        raise InputError(f"max_tokens={max_tokens} was given; expected at least 0")
    sampling = Sampling(temperature, top_k, top_p)
    task = load(run)
    assert isinstance(task, LanguageModel)
    text = task.generate(prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    sys.stdout.write(prompt)
    for piece in text:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def test(
    run: str,
    data: str | None = None,
    subset: str | None = None,
    column: str = "text",
    split: Literal["train", "validation", "test", "whole"] | None = None,
) -> dict[str, float]:
    """Score text with a trained model: nats per token, perplexity, bits per character and per byte.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        data: a text file, a directory or a hub name; what the run was trained on where not given.
        subset: configuration of a hub dataset.
        column: column of a hub dataset that holds the text.
        split: which part to score; where not given, the test part if there is one, then files of --data as a
            whole, then the validation part.
    """
    task = load(run)
    arguments = dict(read_checkpoint(run)[RECORD]["data"] or {"init_args": {}})["init_args"]
    if data is not None:
        arguments |= {"data": data, "subset": subset, "column": column}
    text = TextDataModule(**arguments | {"tokenizer": task.tokenizer})
    preferred = ("test", "whole", "validation") if data is not None else ("test", "validation")
    part: str = split or next(name for name in preferred if name in text.corpus.splits)
    facts = text.facts(part)
    with quiet():
        trainer = pl.Trainer(
            devices=1,
            accelerator=choose_accelerator("auto", 1),
            logger=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
        )
        (figures,) = trainer.test(task, loader(text.scored_batches(part)), verbose=False)
    context = "state carried from token to token" if text.carry else f"in windows of {text.length} tokens"
    print(f"{text.corpus.origin}, {part}: {int(task.scores.tokens):,} tokens scored once each, {context}")
    for name, figure in figures.items():
        print(f"  {name.removeprefix('test/').replace('_', ' '):<20} {figure:.4f}")
    if facts.unknown:
        print(f"  {facts.unknown:,} tokens are unknown to the vocabulary; bits per byte count each as one byte")
    return dict(figures)


def validate(run: str) -> dict[str, float]:
    """Score the validation text that a run kept apart: nats per token, perplexity, bits per character and per byte.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
    """
    return test(run, split="validation")
