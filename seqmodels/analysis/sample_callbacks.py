"""Callbacks that write samples and translations during training."""

from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import lightning.pytorch as pl

from seqmodels.analysis.attention import alignment, draw_alignment
from seqmodels.analysis.callbacks import ScheduledCallback, log_picture
from seqmodels.batch import Batch
from seqmodels.decoding import Beam, Sampling
from seqmodels.errors import InputError
from seqmodels.files import append_text, printable
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.batch_translation import Translates, translations
from seqmodels.tasks.prefix_lm import PrefixLM


@runtime_checkable
class SampleLogger(Protocol):
    """A logger that takes samples, too."""

    def log_sample(self, step: int, tokens: int, nats: float | None, prompt: str, text: str) -> None:
        """Log a sample with the step, the tokens trained on, and the last validation in nats per token."""


def _log_sample(trainer: pl.Trainer, task: SequenceTask, nats: float | None, prompt: str, text: str) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, SampleLogger):
            logger.log_sample(trainer.global_step, task.tokens_seen, nats, prompt, text)


class Samples(ScheduledCallback):
    """Writes, prints and logs a sample after steps 100, 200, 400, ... and at the end of training.

    Args:
        path: a Markdown file that grows.
        prompt: the beginning of each sample.
        first: the first step.
        tokens: length of a sample, at most.
        sampling: how tokens are drawn.
    """

    def __init__(
        self,
        path: Path,
        prompt: str = "",
        first: int = 100,
        tokens: int = 250,
        sampling: Sampling = Sampling(temperature=0.8),  # noqa: B008 - immutable
    ) -> None:
        super().__init__(first=first)
        self.path, self.prompt, self.tokens, self.sampling = path, prompt, tokens, sampling
        self.nats: float | None = None
        """Nats per token of the last validation."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep its figure for the headings."""
        figure = trainer.callback_metrics.get("val/nats_per_token")
        self.nats = None if figure is None else float(figure)

    def measure(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch | None) -> dict[str, float]:
        assert isinstance(task, LanguageModel)
        step, limit = trainer.global_step, task.backbone.max_length
        length = 1 + len(task.tokenizer.encode(self.prompt))
        room = self.tokens if limit is None else max(0, min(self.tokens, limit - length))
        try:
            text = "".join(task.generate(self.prompt, max_tokens=room, sampling=self.sampling, seed=0))
        except InputError as error:  # the model has diverged
            trainer.print(f"note     no sample at step {step:,}: {error}")
            return {}
        heading = f"step {step:,}" + (f", last validated at {self.nats:.3f} nats per token" if self.nats else "")
        fence = "~~~~~~" if "```" in self.prompt + text else "```"
        append_text(self.path, printable(f"## {heading}\n\n{fence}text\n{self.prompt}{text}\n{fence}\n\n"))
        _log_sample(trainer, task, self.nats, self.prompt, text)
        trainer.print(f"\n--- sample at {heading}\n{self.prompt}{text}\n---")
        return {}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"nats": self.nats}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.nats = state_dict["nats"]


class Translations(pl.Callback):
    """Writes and logs translations of some sentences after each validation, and draws the alignment of the first.

    Args:
        folder: of `translations.md`, which grows, and of `attention.png`, for translators with attention.
        pairs: sentences and their reference translations.
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
            _log_sample(trainer, pl_module, nats, source, text)
        append_text(self.folder / "translations.md", printable("\n".join(lines) + "\n"))
        trainer.print(f"  {self.pairs[0][0]}  →  {texts[0]}")
        if isinstance(pl_module, Translator) and pl_module.attends:
            draw_alignment(alignment(pl_module, *self.pairs[0]), self.folder / "attention.png")
            log_picture(trainer, pl_module, self.folder / "attention.png")
