"""Evaluation of language models on a text: in lanes or windows, with or without dynamic evaluation."""

import itertools
import sys
from dataclasses import dataclass

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import track

from seqmodels.data import Batches, Replica, TextDataModule
from seqmodels.data.sampler import loader
from seqmodels.environment import choose_accelerator, kept_memory, quiet
from seqmodels.errors import InputError
from seqmodels.files import bare
from seqmodels.metrics import perplexity
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.dynamic_evaluation import Dynamic, dynamic_evaluation

LANES, PIECE = 8, 20
"""Default number of lanes with a carried state, and of tokens that dynamic evaluation learns from at a time."""

STATISTICS = 200
"""Batches of the training text from which dynamic evaluation estimates the size of gradients."""


@dataclass(frozen=True)
class Reading:
    """How a text is read to be scored; every token is scored once in any case.

    Attributes:
        lanes: with a carried state, the number of lanes; the first token of each has no context. Default 8.
        stride: with windows, the tokens that each scores but the first; earlier ones are context. Default: all.
        dynamic: the model learns from each piece after it was scored, in a single lane or window after window.
        piece: with dynamic evaluation and a carried state, the tokens it learns from at a time. Default 20.

    Raises:
        InputError: a number is not positive.
    """

    lanes: int | None = None
    stride: int | None = None
    dynamic: Dynamic | None = None
    piece: int | None = None

    def __post_init__(self) -> None:
        for name, value in {"lanes": self.lanes, "stride": self.stride, "dynamic_piece": self.piece}.items():
            if value is not None and value < 1:
                raise InputError(f"{name}={value} was given; expected at least 1")

    def batches(self, data: TextDataModule, split: str) -> Batches:
        """The batches of a split."""
        for given, name, use, remedy in (
            (data.carry and self.stride, "stride", "windows, and here the state is carried", "--no-carry"),
            (not data.carry and self.lanes, "lanes", "a state that is carried, and here are windows", "--carry"),
            (not data.carry and self.piece, "dynamic_piece", "a state that is carried", "--stride"),
            (self.dynamic and self.lanes, "lanes", "parallel lanes, and dynamic evaluation reads one", "no lanes"),
            (not self.dynamic and self.piece, "dynamic_piece", "dynamic evaluation", "--dynamic"),
        ):
            if given:
                raise InputError(f"{name}={given} is for {use}; give {remedy} instead")
        if self.dynamic is None:
            return data.scored_batches(split, lanes=self.lanes or LANES, stride=self.stride)
        return data.scored_batches(split, lanes=1, stride=self.stride, piece=self.piece or PIECE, rows=1)

    def describe(self, data: TextDataModule) -> str:
        """The context of a token, in words."""
        stride = self.stride or data.length
        if data.carry:
            lanes = 1 if self.dynamic else self.lanes or LANES
            words = f"state carried through {lanes} lane{'s' if lanes > 1 else ''}"
        else:
            words = f"windows of {data.length} tokens, stride {stride}"
        if self.dynamic:
            words += f", learning from every {(self.piece or PIECE) if data.carry else stride} tokens scored"
        return words


def evaluate(
    task: SequenceTask, data: TextDataModule, split: str, reading: Reading, trained_on: TextDataModule | None = None
) -> dict[str, float]:
    """Score every token of a text once: nats per token, perplexity per token and word, bits per character and byte,
    tokens scored.

    Args:
        task: the model.
        data: the text; its `carry` and `length` apply.
        split: of the text.
        reading: see `Reading`.
        trained_on: the training data, for dynamic evaluation.

    Raises:
        InputError: the reading does not fit the data, or dynamic evaluation diverged.
    """
    with kept_memory():
        return _of_text(data, split, _figures(task, reading.batches(data, split), reading, trained_on))


def _figures(
    task: SequenceTask, batches: Batches, reading: Reading, trained_on: TextDataModule | None
) -> dict[str, float]:
    accelerator = choose_accelerator()
    shown = sys.stderr.isatty()
    if reading.dynamic is None:
        with quiet():
            trainer = pl.Trainer(
                devices=1, accelerator=accelerator, logger=False, enable_progress_bar=shown, enable_model_summary=False
            )
            (figures,) = trainer.test(task, loader(batches), verbose=False)
        named = {name.removeprefix("test/"): float(figure) for name, figure in figures.items()}
        return {**named, "tokens": int(task.scores.tokens)}
    if trained_on is None:
        raise InputError("dynamic evaluation needs the training text to estimate the size of gradients")
    task.to("cuda" if accelerator == "gpu" else "cpu")
    statistics = itertools.islice(loader(trained_on.training_batches(Replica())), STATISTICS)
    learning = dynamic_evaluation(task, loader(batches), statistics, reading.dynamic)
    console = Console(file=bare(sys.stderr))
    *_, scores = track(
        learning, "scoring and learning", len(batches), console=console, transient=True, disable=not shown
    )
    if not scores.nats.isfinite():
        raise InputError(
            f"the model diverged as it learned from the text, at lr={reading.dynamic.lr}; give a lower --dynamic-lr"
        )
    named = {name: float(figure) for name, figure in scores.compute().items()}
    return {**named, "tokens": int(scores.tokens)}


def _of_text(data: TextDataModule, split: str, figures: dict[str, float]) -> dict[str, float]:
    """Figures with bits per byte of the whole text, since tokens of words leave out some white space, and perplexity
    per word between white space, which compares models of different vocabularies, too.
    """
    if data.scored_targets != "all":
        return figures
    facts, nats = data.facts(split), figures["nats_per_token"] * figures["tokens"]
    bits_per_byte = facts.bits_per_byte(nats)
    per_character = bits_per_byte * facts.bytes / facts.characters
    words = sum(len(text.split()) for batch in data.corpus.rows(split).iter(64) for text in batch["text"])
    per_word = {"perplexity_per_word": perplexity(nats / words)} if words else {}
    return {**figures, "bits_per_character": per_character, "bits_per_byte": bits_per_byte, **per_word}
