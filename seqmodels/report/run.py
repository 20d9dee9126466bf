"""A run folder as the source of a report: opened once, with a reason for each part that is missing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from seqmodels.analysis.csv_table import MAX_BYTES
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.batch import BOS, Batch
from seqmodels.checkpoints.load import check_text, load_with_origin
from seqmodels.checkpoints.saved import located, runs_below
from seqmodels.config import Call, by_flag, class_path, construct, read_settings
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.data.windows import shifted
from seqmodels.errors import InputError
from seqmodels.files import read_json, read_small
from seqmodels.interop.families.shards import INDEX
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

OF_A_RUN = ("config.yaml", "metrics.csv", "result.json", "env.json", "checkpoints")
FILES = (*OF_A_RUN, "model.safetensors", INDEX)
"""A folder with one of these is a run or an exported model."""

Content = TypeVar("Content")


@dataclass
class Run:
    """A run and its files; for anything that is missing, an `InputError` says why."""

    folder: Path
    name: str
    """In a comparison."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a file, the model or the data is missing, by name."""
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)
    model: SequenceTask | None = None
    _data: SequenceDataModule | None = None
    pages: Path = Path()
    """The folder that a report is written to: that of the run, and of a model on the hub the current one."""

    @property
    def task(self) -> SequenceTask:
        """The trained model, in evaluation mode."""
        if self.model is None:
            raise InputError(self.missing["model"])
        return self.model

    @property
    def language_model(self) -> LanguageModel:
        """The trained model, if it is a language model."""
        if not isinstance(self.task, LanguageModel):
            raise InputError(f"this section is about language models, and the run trained a {type(self.task).__name__}")
        return self.task

    @property
    def data(self) -> SequenceDataModule:
        """The data of the training, or those that were given instead."""
        if self._data is None:
            raise InputError(self.missing["data"])
        return self._data

    @property
    def text(self) -> TextDataModule:
        """The data, if they are running text."""
        if not isinstance(self.data, TextDataModule):
            raise InputError("this section needs running text, and the run was trained on pairs of sentences")
        return self.data

    @property
    def split(self) -> str:
        """The name of the held-out split."""
        return next((name for name in ("validation", "whole", "test") if name in self.data.splits), "train")

    def file(self, name: str) -> str:
        """The text of a file of the run."""
        if not (self.folder / name).exists():
            raise InputError(f"the run has no {name}")
        return read_small(self.folder / name, MAX_BYTES)

    def held_out(self, characters: int) -> str:
        """The first characters of the held-out text."""
        text = ""
        for row in self.text.corpus.rows(self.split):
            if len(text) >= characters:
                break
            text += row["text"]
        return text[:characters]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """Held-out sentences with their reference translations."""
        if not isinstance(self.data, TranslationDataModule):
            raise InputError("this section is about translations, and the run was trained on running text")
        return self.data.examples(self.split, count)

    def batch(self, rows: int, positions: int) -> Batch:
        """A held-out batch with targets, of at most so many rows B and positions T; pairs keep their length."""
        if not isinstance(self.data, TextDataModule):
            batch = self.data.scored_batches(self.split)[0, 0]
            return batch.mapped(lambda tensor: tensor[:rows])._replace(continues=False, continued=False)
        positions = min(positions, self.language_model.backbone.max_length or positions)
        ids = self.task.tokenizer.encode(self.held_out(8 * rows * (positions + 1)))
        if len(ids) < 2:
            raise InputError("the held-out text has fewer than two tokens, so there is nothing to predict")
        positions = min(positions, len(ids) - 1)
        rows = min(rows, len(ids) // (positions + 1))
        return shifted(torch.tensor(ids[: rows * (positions + 1)]).view(rows, positions + 1))

    def token_ids(self, count: int) -> list[int]:
        """The first held-out tokens as the model reads them: BOS, text; or BOS, source, BOS, translation."""
        encode = self.language_model.tokenizer.encode
        if isinstance(self.data, TranslationDataModule):
            source, target = max(self.pairs(12), key=lambda pair: len(pair[0]) if len(pair[0]) < count / 2 else 0)
            return [BOS, *encode(source), BOS, *encode(target)][:count]
        return [BOS, *encode(self.held_out(4 * count))][:count]


DataCache = dict[str, SequenceDataModule]
"""Data modules by their constructor call, shared by runs on the same data."""


def open_run(path: str | Path, data: Sequence[str] | None = None, cache: DataCache | None = None) -> Run:
    """Open a run folder, a shared model, also on the hub, or a run with another checkpoint than the best; see `report`.

    The cache has data modules of other runs; that of this run is added.

    Raises:
        InputError: it is not a run.
    """
    given, path = path, located(path)
    from_hub = path != Path(given).expanduser()
    checkpoint = path if path.is_file() else None
    folder = path if checkpoint is None else path.parent.parent if path.parent.name == "checkpoints" else path.parent
    if not folder.is_dir() or not any((folder / name).exists() for name in FILES):
        why = "there is no such folder" if not folder.exists() else "it has no files of a run"
        near = runs_below(folder) or ", such as one below runs/"
        raise InputError(f"{str(path)!r} was given, and {why}; expected a run folder{near}")
    run = Run(folder, str(given)) if from_hub else Run(folder, folder.resolve().name, pages=folder)
    run.settings = by_flag(_read(run, "config.yaml", read_settings, {}))
    run.environment = _read(run, "env.json", read_json, {})
    run.result = _read(run, "result.json", read_json, {})
    run.metrics = _read(run, "metrics.csv", read_metrics, [])
    try:
        loaded = load_with_origin(checkpoint or folder)
        run.model = loaded.task
    except InputError as error:
        if not any((folder / name).exists() for name in OF_A_RUN):
            raise  # without its model there is nothing to show of it
        run.missing["model"] = run.missing["data"] = f"the run has no model that can be loaded: {error}"
        return run
    try:
        opened = _open_data(loaded.data, run.model, data, {} if cache is None else cache)
        check_text(loaded, opened)
        run._data = opened
    except InputError as error:
        advice = "" if "--data" in str(error) else "; give its path with --data"
        run.missing["data"] = f"the text of the run cannot be read: {error}{advice}"
    return run


def _read(run: Run, name: str, read: Callable[[Path], Content], default: Content) -> Content:
    """The content of a file, or a default and the reason why."""
    path = run.folder / name
    try:
        return read(path)
    except InputError as error:
        run.missing[name] = str(error) if path.exists() else f"the run has no {name}"
        return default


def _call_of(task: SequenceTask, files: Sequence[str] | None) -> Call:
    """The constructor call of data for a model that comes without any, such as a public one."""
    if not files:
        raise InputError("its checkpoint does not say what it was trained on")
    arguments: dict[str, Any] = {"data": files[0] if len(files) == 1 else list(files), "tokenizer": "byte"}
    if not isinstance(task, Translator):
        return {"class_path": class_path(TextDataModule), "init_args": arguments}
    source, target = (Path(files[0]).suffix[1:], Path(files[-1]).suffix[1:])
    if len(files) != 2 or not source or not target or source == target:
        raise InputError("--data of a translator takes two files that end in their languages, such as a.en a.fr")
    arguments |= {"source": source, "target": target}
    return {"class_path": class_path(TranslationDataModule), "init_args": arguments}


def _open_data(call: Any, task: SequenceTask, moved: Sequence[str] | None, cache: DataCache) -> SequenceDataModule:
    """The data module with the tokenizers of the model, which are then not trained again."""
    if not isinstance(call, dict):
        call = _call_of(task, moved)
    elif moved:
        call = {**call, "init_args": {**call["init_args"], "data": moved[0] if len(moved) == 1 else list(moved)}}
    source = task.source_tokenizer if isinstance(task, Translator) else task.tokenizer
    key = json.dumps([call, task.tokenizer.json, source.json], sort_keys=True)
    if key not in cache:
        data: SequenceDataModule = construct(call, SequenceDataModule)
        data.tokenizer = task.tokenizer
        if isinstance(data, TranslationDataModule):
            data.source_tokenizer = source
        data.splits  # noqa: B018 - raises where the text is missing
        cache[key] = data
    return cache[key]
