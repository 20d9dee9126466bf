"""Callbacks that write samples and translations during training."""

from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl

from seqmodels.analysis.attention import alignment, draw_alignment
from seqmodels.analysis.callbacks import ScheduledCallback, folder_of
from seqmodels.analysis.shown import Picture, Sample, show
from seqmodels.batch import Batch
from seqmodels.data import TranslationDataModule
from seqmodels.decoding import Beam, Sampling
from seqmodels.errors import InputError
from seqmodels.files import append_text, filter_parts, printable
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.batch_translation import Translates, translations
from seqmodels.tasks.prefix_lm import PrefixLM

PART = r"^(?=## step ([\d,]+))"
"""The beginning of a part of the files, which is of one step."""


class Samples(ScheduledCallback):
    """Writes to `samples.md`, prints and logs a sample of a language model, by default after steps 50, 100, 200, ...

    Args:
        prompt: the beginning of each sample.
        tokens: length of a sample, at most.
        sampling: how tokens are drawn.
        every: see `ScheduledCallback`.
        first: see there.
        folder: see there.
    """

    def __init__(
        self,
        prompt: str = "",
        tokens: int = 250,
        sampling: Sampling = Sampling(temperature=0.8),  # noqa: B008 - immutable
        every: int | None = None,
        first: int = 50,
        folder: Path | None = None,
    ) -> None:
        super().__init__(every, first, folder)
        self.prompt, self.tokens, self.sampling = prompt, tokens, sampling
        self.nats: float | None = None
        """Nats per token of the last validation."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep its figure for the headings."""
        figure = trainer.callback_metrics.get("val/nats_per_token")
        self.nats = None if figure is None else float(figure)

    def measure(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch | None) -> dict[str, float]:
        if not isinstance(task, LanguageModel):
            raise InputError(f"Samples were asked for with a {type(task).__name__}; add Translations instead")
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
        append_text(
            self.folder(trainer) / "samples.md",
            printable(f"## {heading}\n\n{fence}text\n{self.prompt}{text}\n{fence}\n\n"),
        )
        show(trainer, task, Sample(self.prompt, text, self.nats))
        trainer.print(f"\n--- sample at {heading}\n{self.prompt}{text}\n---")
        return {}

    def rewind(self, folder: Path) -> None:
        filter_parts(folder / "samples.md", PART, self.last)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"nats": self.nats}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.nats = state_dict["nats"]


class Translations(pl.Callback):
    """Writes to `translations.md` and logs translations of some sentences after each validation, and draws the
    alignment of the first as `attention.png`, if there is attention.

    Args:
        pairs: sentences and their reference translations; None for some of the validation text of the data module.
        folder: see `ScheduledCallback`.
    """

    def __init__(self, pairs: list[tuple[str, str]] | None = None, folder: Path | None = None) -> None:
        self.pairs, self._folder = pairs, folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the sentences; remove what was written after the checkpoint that the training begins from."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.pairs is None and not isinstance(data, TranslationDataModule):
            raise InputError("Translations were given no pairs, and fit no TranslationDataModule; give one of them")
        self.pairs = data.examples("validation") if self.pairs is None else self.pairs
        if trainer.is_global_zero:
            filter_parts(self._path(trainer), PART, trainer.global_step)

    def _path(self, trainer: pl.Trainer) -> Path:
        return folder_of(trainer, self._folder) / "translations.md"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Translate them."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SequenceTask)
        assert self.pairs
        model: Translates = pl_module if isinstance(pl_module, Translator) else PrefixLM(cast(LanguageModel, pl_module))
        sources = [source for source, _ in self.pairs]
        best = translations([model], sources, Beam(size=1))
        texts = [found[0].text if found else "" for found in best]
        nats = float(trainer.callback_metrics["val/nats_per_token"])
        lines = [f"## step {trainer.global_step:,}, validated at {nats:.3f} nats per token\n"]
        for (source, reference), text in zip(self.pairs, texts, strict=True):
            lines.append(f"- {source}\n  - **{text}**\n  - {reference}\n")
        path = self._path(trainer)
        filter_parts(path, PART, trainer.global_step - 1)  # one that a resumed run does again
        append_text(path, printable("\n".join(lines) + "\n"))
        show(
            trainer, pl_module, *(Sample(s, text, nats, " → ") for (s, _), text in zip(self.pairs, texts, strict=True))
        )
        trainer.print(f"  {self.pairs[0][0]}  →  {texts[0]}")
        if isinstance(pl_module, Translator) and pl_module.attends:
            draw_alignment(alignment(pl_module, *self.pairs[0]), path.with_name("attention.png"))
            show(trainer, pl_module, Picture(path.with_name("attention.png")))
