"""Text that the model writes while it learns.

Translations that the model makes while it learns, and what it looked at.
"""

from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import lightning.pytorch as pl

from seqmodels.analysis.attention import alignment, draw_alignment
from seqmodels.decoding import Beam, Sampling
from seqmodels.errors import InputError
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.batch_translation import Translates, translations
from seqmodels.tasks.fsdp import whole_weights
from seqmodels.tasks.prefix_lm import PrefixLM


@runtime_checkable
class TakesSamples(Protocol):
    """A logger that keeps samples, too."""

    def log_sample(self, step: int, tokens: int, nats: float | None, prompt: str, text: str) -> None:
        """Keep one: the step, the tokens trained on by then, the last validation, what was continued, and how."""


class Samples(pl.Callback):
    """Writes and prints a sample at growing steps, and when training ends; loggers that take samples get them, too.

    Args:
        path: a Markdown file that grows.
        prompt: what the samples continue.
        first: the step of the first sample; after that, whenever the number of steps has doubled.
        tokens: how many tokens a sample has at most.
        sampling: how they are drawn.
    """

    def __init__(
        self,
        path: Path,
        prompt: str = "",
        first: int = 100,
        tokens: int = 250,
        sampling: Sampling = Sampling(temperature=0.8),  # noqa: B008 - immutable
    ) -> None:
        self.path, self.prompt, self.next, self.tokens, self.sampling = path, prompt, first, tokens, sampling
        self.last = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Sample if it is time."""
        if trainer.global_step >= self.next:
            self._sample(trainer, pl_module)
            self.next = 2 * trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sample the finished model."""
        if trainer.global_step > self.last:
            self._sample(trainer, pl_module)

    def _sample(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Write one, on the first device alone."""
        self.last = trainer.global_step
        with whole_weights(task):
            if trainer.is_global_zero:
                self._write(trainer, task)

    def _write(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, LanguageModel)
        limit = task.backbone.max_length
        length = 1 + len(task.tokenizer.encode(self.prompt))
        room = self.tokens if limit is None else max(0, min(self.tokens, limit - length))
        try:
            text = "".join(task.generate(self.prompt, max_tokens=room, sampling=self.sampling, seed=0))
        except InputError as error:  # a model that has diverged; its figures are to be kept all the same
            trainer.print(f"note     no sample at step {self.last:,}: {error}")
            return
        figure = trainer.callback_metrics.get("val/nats_per_token")
        heading = f"step {self.last:,}" + (f", last validated at {figure:.3f} nats per token" if figure else "")
        with self.path.open("a", encoding="utf-8") as file:
            fence = "~~~~~~" if "```" in self.prompt + text else "```"
            file.write(f"## {heading}\n\n{fence}text\n{self.prompt}{text}\n{fence}\n\n")
        nats = None if figure is None else float(figure)
        for logger in trainer.loggers:
            if isinstance(logger, TakesSamples):
                logger.log_sample(self.last, task.tokens_seen, nats, self.prompt, text)
        trainer.print(f"\n--- sample at {heading}\n{self.prompt}{text}\n---")

    def state_dict(self) -> dict[str, Any]:
        """When the next sample is due."""
        return {"next": self.next, "last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.next, self.last = state_dict["next"], state_dict["last"]


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
        model: Translates = pl_module if isinstance(pl_module, Translator) else PrefixLM(cast(LanguageModel, pl_module))
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
        if isinstance(pl_module, Translator) and pl_module.attends:
            path = self.folder / "attention.png"
            draw_alignment(alignment(pl_module, *self.pairs[0]), path)
            for logger in trainer.loggers:
                if isinstance(logger, TakesPictures):
                    logger.log_picture(trainer.global_step, pl_module.tokens_seen, "attention", path)
