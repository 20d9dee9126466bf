"""Translations that the model makes while it learns, and what it looked at."""

from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import lightning.pytorch as pl

from seqmodels.decoding import Beam
from seqmodels.diagnostics.alignment import alignment, draw_alignment
from seqmodels.diagnostics.samples import TakesSamples
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.joined import Joined
from seqmodels.tasks.translation import Translates, translations


@runtime_checkable
class TakesPictures(Protocol):
    """A logger that keeps pictures, too."""

    def log_picture(self, step: int, tokens: int, name: str, path: Path) -> None:
        """Keep one: the step, the tokens trained on by then, what it shows, and its file, which will be overwritten."""


class Translations(pl.Callback):
    """After each validation, writes how some of its sentences are translated, and draws what the first one attended to;
    loggers that take samples or pictures get them, too.

    Args:
        folder: where `translations.md` grows, and `attention.png` shows where the first of them was looked at.
        pairs: sentences and their translations.
    """

    def __init__(self, folder: Path, pairs: list[tuple[str, str]]) -> None:
        self.folder, self.pairs = folder, pairs

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Translate them."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SequenceTask)
        model: Translates = pl_module if isinstance(pl_module, Translator) else Joined(cast(LanguageModel, pl_module))
        best = translations([model], [source for source, _ in self.pairs], Beam(size=1))
        texts = [found[0].text if found else "" for found in best]
        nats = float(trainer.callback_metrics["val/nats_per_token"])
        lines = [f"## step {trainer.global_step:,}, validated at {nats:.3f} nats per token\n"]
        for (source, reference), text in zip(self.pairs, texts, strict=True):
            lines.append(f"- {source}\n  - **{text}**\n  - {reference}\n")
            for logger in trainer.loggers:
                if isinstance(logger, TakesSamples):
                    logger.log_sample(trainer.global_step, pl_module.tokens_seen, nats, source, text)
        with (self.folder / "translations.md").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        trainer.print(f"  {self.pairs[0][0]}  →  {texts[0]}")
        if isinstance(pl_module, Translator) and pl_module.looks:
            path = self.folder / "attention.png"
            draw_alignment(alignment(pl_module, *self.pairs[0]), path)
            for logger in trainer.loggers:
                if isinstance(logger, TakesPictures):
                    logger.log_picture(trainer.global_step, pl_module.tokens_seen, "attention", path)
