"""Samples, pictures and tables for the loggers of a Trainer, each where it can show them; files of a run are apart."""

import csv
import io
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from seqmodels.files import markdown_table
from seqmodels.tasks import SequenceTask

SAMPLE_COLUMNS = ["step", "tokens", "nats", "prompt", "text"]
"""Of the table of samples."""


class Moment(NamedTuple):
    """When something was measured: optimizer steps and tokens trained on."""

    step: int
    tokens: int


class Sample(NamedTuple):
    """A generated text or translation."""

    prompt: str
    """Its beginning, or the sentence that is translated."""
    text: str
    nats: float | None
    """Nats per token of the last validation."""
    between: str = ""
    """What stands between the two where they are shown in one line."""

    def row(self, moment: Moment) -> list[Any]:
        """Values of `SAMPLE_COLUMNS`."""
        return [*moment, self.nats, self.prompt, self.text]


def show(trainer: pl.Trainer, task: SequenceTask, *things: "Sample | Picture | Table") -> None:
    """Give samples, pictures and tables to all loggers; called on rank 0."""
    moment = Moment(trainer.global_step, task.tokens_seen)
    for logger in trainer.loggers:
        if samples := [thing for thing in things if isinstance(thing, Sample)]:
            log_samples(logger, moment, samples)
        for thing in things:
            if isinstance(thing, Picture):
                log_picture(logger, moment, thing)
            elif isinstance(thing, Table):
                log_table(logger, moment, thing)


class Picture(NamedTuple):
    """A PNG file, which may be overwritten later."""

    path: Path

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.path.stem.replace("_", " ")


class Table(NamedTuple):
    """Rows of numbers and strings."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@singledispatch
def log_samples(logger: Logger, moment: Moment, samples: Sequence[Sample]) -> None:
    """Log samples of one moment; a logger that shows no text gets none."""


@singledispatch
def log_picture(logger: Logger, moment: Moment, picture: Picture) -> None:
    """Log a picture; a logger that shows none gets none."""


@singledispatch
def log_table(logger: Logger, moment: Moment, table: Table) -> None:
    """Log a table; a logger that shows none gets none."""


@singledispatch
def log_result(logger: Logger, checkpoint: Path, figures: dict[str, Any]) -> None:
    """Log the final figures of a run and its best checkpoint, if that exists; other loggers have the curves."""


@log_samples.register
def _(logger: WandbLogger, moment: Moment, samples: Sequence[Sample]) -> None:
    logger.log_table("samples", [*SAMPLE_COLUMNS], [sample.row(moment) for sample in samples], step=moment.step)


@log_picture.register
def _(logger: WandbLogger, moment: Moment, picture: Picture) -> None:
    logger.log_image(picture.name, [str(picture.path)], step=moment.step)


@log_table.register
def _(logger: WandbLogger, moment: Moment, table: Table) -> None:
    logger.log_table(table.name, [*table.columns], [list(row) for row in table.rows], step=moment.step)


@log_samples.register
def _(logger: TensorBoardLogger, moment: Moment, samples: Sequence[Sample]) -> None:
    logger.experiment.add_text("samples", "\n\n".join(map(fenced, samples)), moment.step)


@log_picture.register
def _(logger: TensorBoardLogger, moment: Moment, picture: Picture) -> None:
    from matplotlib.image import imread  # where there are pictures, it is there

    logger.experiment.add_image(picture.name, imread(picture.path), moment.step, dataformats="HWC")


@log_table.register
def _(logger: TensorBoardLogger, moment: Moment, table: Table) -> None:
    logger.experiment.add_text(table.name, markdown_table([table.columns, *table.rows]), moment.step)


@log_samples.register
def _(logger: MLFlowLogger, moment: Moment, samples: Sequence[Sample]) -> None:
    name = f"samples/step-{moment.step:08}.md"
    logger.experiment.log_text(logger.run_id, "\n\n".join(map(fenced, samples)) + "\n", name)


@log_picture.register
def _(logger: MLFlowLogger, moment: Moment, picture: Picture) -> None:
    logger.experiment.log_artifact(logger.run_id, str(picture.path), f"pictures/step-{moment.step:08}")


@log_table.register
def _(logger: MLFlowLogger, moment: Moment, table: Table) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([table.columns, *table.rows])
    logger.experiment.log_text(logger.run_id, file.getvalue(), f"tables/{table.name}.csv")  # its own tables only grow


@log_result.register
def _(logger: MLFlowLogger, checkpoint: Path, figures: dict[str, Any]) -> None:
    logger.experiment.log_dict(logger.run_id, figures, "result.json")
    if checkpoint.exists():
        logger.experiment.log_artifact(logger.run_id, str(checkpoint), "checkpoints")


def fenced(sample: Sample) -> str:
    """A sample as Markdown, as it is: indented code needs no fence that its text might close."""
    nats = "" if sample.nats is None else f"last validated at {sample.nats:.3f} nats per token\n\n"
    return nats + "\n".join(f"    {line}" for line in (sample.prompt + sample.between + sample.text).splitlines())
