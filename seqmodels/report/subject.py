"""What a report is about: a run folder, opened once, with a reason for whatever is not there."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.batch import BOS, Batch
from seqmodels.checkpoints.load import checkpoint_path, read_checkpoint
from seqmodels.checkpoints.rebuild import rebuild
from seqmodels.config import construct, read_settings
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.data.windows import shifted
from seqmodels.errors import InputError
from seqmodels.files import local, read_json, read_small
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.training_state import RECORD

LONGEST_LOG = 64 << 20
"""Most bytes of `metrics.csv` and of samples."""
KNOWN = ("config.yaml", "metrics.csv", "result.json", "env.json", "checkpoints", "model.safetensors")
"""What tells a run folder, or that of a shared model, from any other."""

Found = TypeVar("Found")


@dataclass
class Subject:
    """A run and what it left.

    Attributes:
        folder: of the run.
        name: what to call it where several are compared.
        absent: for what is not there, why.
        settings: of `config.yaml`.
        environment: of `env.json`.
        result: of `result.json`.
        metrics: rows of `metrics.csv`.
        step: steps that the model was trained for.
    """

    folder: Path
    name: str
    absent: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)
    step: int | None = None
    _task: SequenceTask | None = None
    _data: SequenceDataModule | None = None

    @property
    def task(self) -> SequenceTask:
        """The trained model, in evaluation mode.

        Raises:
            InputError: there is none; it says why.
        """
        if self._task is None:
            raise InputError(self.absent["model"])
        return self._task

    @property
    def language_model(self) -> LanguageModel:
        """The same, where it is one.

        Raises:
            InputError: there is none, or it is a translator.
        """
        if not isinstance(self.task, LanguageModel):
            raise InputError(f"this is of language models, and the run trained a {type(self.task).__name__}")
        return self.task

    @property
    def data(self) -> SequenceDataModule:
        """What it was trained on, or what was given in its place.

        Raises:
            InputError: it cannot be read; it says why.
        """
        if self._data is None:
            raise InputError(self.absent["data"])
        return self._data

    def has_task(self) -> bool:
        """Whether there is a model."""
        return self._task is not None

    def file(self, name: str) -> str:
        """The text of a file of the run.

        Raises:
            InputError: there is none, or it is none of this package.
        """
        if not (self.folder / name).exists():
            raise InputError(f"the run left no {name}")
        return read_small(self.folder / name, LONGEST_LOG)

    def held_out(self, characters: int) -> str:
        """The beginning of the text that the run validated on.

        Args:
            characters: most of them.

        Raises:
            InputError: there is no such text.
        """
        if not isinstance(self.data, TextDataModule):
            raise InputError("this is of running text, and the run was trained on something else")
        pieces, length = list[str](), 0
        for rows in self.data.corpus.rows(self.part).iter(16):
            pieces += rows["text"]
            length += sum(map(len, rows["text"]))
            if length >= characters:
                break
        return "".join(pieces)[:characters]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """Sentences that the run validated on, with their translations.

        Raises:
            InputError: there are none.
        """
        if not isinstance(self.data, TranslationDataModule):
            raise InputError("this is of translators, and the run was trained on something else")
        return self.data.examples(self.part, count)

    def batch(self, rows: int, positions: int) -> Batch:
        """Held-out text as a batch that has its targets.

        Args:
            rows: at most.
            positions: of running text, tokens of a row at most; pairs of sentences are as long as they are.

        Raises:
            InputError: there is no such text, or too little.
        """
        if not isinstance(self.data, TextDataModule):
            whole = self.data.scored_batches(self.part)[0, 0]
            return whole.mapped(lambda part: part[:rows])._replace(continues=False, goes_on=False)
        limit = self.language_model.backbone.max_length
        positions = positions if limit is None else min(positions, limit)
        ids = self.task.tokenizer.encode(self.held_out(8 * rows * (positions + 1)))
        if len(ids) < 2:
            raise InputError("the held-out text has no two tokens, so that there is nothing to predict")
        positions = min(positions, len(ids) - 1)
        rows = min(rows, len(ids) // (positions + 1))
        return shifted(torch.tensor(ids[: rows * (positions + 1)]).view(rows, positions + 1))

    @property
    def part(self) -> str:
        """The split that is held out."""
        return next((name for name in ("validation", "whole", "test") if name in self.data.splits), "train")

    def reading(self, most: int) -> list[int]:
        """Ids of held-out tokens as the language model reads them, beginning with BOS: running text, or where it
        translates a source, BOS and the translation.

        Args:
            most: how many at most.

        Raises:
            InputError: there are none.
        """
        encode = self.language_model.tokenizer.encode
        if isinstance(self.data, TranslationDataModule):
            source, target = max(self.pairs(12), key=lambda pair: len(pair[0]) if len(pair[0]) < most / 2 else 0)
            return [BOS, *encode(source), BOS, *encode(target)][:most]
        return [BOS, *encode(self.held_out(4 * most))][:most]


Shared = dict[str, SequenceDataModule]
"""Data that was opened for another run, by what it was made from."""


def open_run(path: str | Path, moved: Sequence[str] | None = None, shared: Shared | None = None) -> Subject:
    """Open a run folder, or that of a shared model.

    Args:
        path: the folder, or a checkpoint in it, with which the report is made.
        moved: where the text lies now, if not where it did; one name, or those of two files.
        shared: what was opened so far, which runs on the same text share; what is opened here is added to it.

    Raises:
        InputError: there is nothing of a run.
    """
    path = local(path)
    chosen = path if path.is_file() else None
    folder = path if chosen is None else path.parent.parent if path.parent.name == "checkpoints" else path.parent
    if not folder.is_dir() or not any((folder / name).exists() for name in KNOWN):
        where = "there is no such folder" if not folder.exists() else "it holds nothing of a run"
        raise InputError(f"{str(path)!r} was given, and {where}; expected a run folder, such as one below runs/")
    subject = Subject(folder, folder.resolve().name)
    absent = subject.absent
    subject.settings = _if_there(folder / "config.yaml", read_settings, {}, absent)
    subject.environment = _if_there(folder / "env.json", read_json, {}, absent)
    subject.result = _if_there(folder / "result.json", read_json, {}, absent)
    subject.metrics = _if_there(folder / "metrics.csv", read_metrics, [], absent)
    try:
        content = read_checkpoint(chosen or checkpoint_path(folder))
        subject._task = rebuild(content[RECORD]["task"], content["state_dict"]).eval()
    except InputError as error:
        absent["model"] = absent["data"] = f"no model to look into: {error}"
        return subject
    step = content.get("global_step")
    subject.step = step if isinstance(step, int) else None
    try:
        subject._data = _data(content[RECORD].get("data"), subject._task, moved, {} if shared is None else shared)
    except InputError as error:
        absent["data"] = f"the text of the run cannot be read: {error}; --data says where it lies now"
    return subject


def _if_there(path: Path, read: Callable[[Path], Found], otherwise: Found, absent: dict[str, str]) -> Found:
    try:
        return read(path)
    except InputError as error:
        absent[path.name] = str(error) if path.exists() else f"the run left no {path.name}"
        return otherwise


def _data(call: Any, task: SequenceTask, moved: Sequence[str] | None, shared: Shared) -> SequenceDataModule:
    """The data module with the tokenizers of the model, so that none is made of the text anew."""
    if not isinstance(call, dict):
        raise InputError("its checkpoint does not say what it was trained on")
    if moved:
        call = {**call, "init_args": {**call["init_args"], "data": moved[0] if len(moved) == 1 else list(moved)}}
    source = task.source_tokenizer if isinstance(task, Translator) else task.tokenizer
    key = json.dumps([call, task.tokenizer.json, source.json], sort_keys=True)
    if key not in shared:
        data: SequenceDataModule = construct(call, SequenceDataModule)
        data.tokenizer = task.tokenizer
        if isinstance(data, TranslationDataModule):
            data.source_tokenizer = source
        data.splits  # noqa: B018 - found out here whether it is there
        shared[key] = data
    return shared[key]
