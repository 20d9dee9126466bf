"""The base of all data modules: loaders of whole batches, and the position in the data that a run resumes from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from seqmodels.batch import Batch
from seqmodels.config import Recorded
from seqmodels.data.corpora import Corpus
from seqmodels.data.given import Given, accepted, is_description, refuse_description
from seqmodels.data.sampler import Batches, Replica, loader
from seqmodels.data.token_column import TextFacts
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.imports import cores


class SequenceDataModule(Recorded, pl.LightningDataModule, ABC):
    """Data for a task, as batches numbered within epochs.

    Args:
        data: name or path of the data.
        seed: random seed of the order.
        num_workers: processes that load batches; 0 is fastest unless batches are huge.
    """

    tokenizer: Tokenizer
    """Tokenizer of the targets."""
    length: int | None = None
    """Positions T of a batch if all batches have the same."""
    carry: bool = False
    """Whether the state is carried from batch to batch."""
    longest_target: int = 0
    """Most tokens of a target to train on, where targets are sentences."""

    size_argument: str
    """Name of the argument that sets the batch size on each rank."""
    order: tuple[str, ...]
    """Arguments on which batch `k` of epoch `e` depends: a resumed run needs the same."""

    def __init__(self, data: str, seed: int, num_workers: int) -> None:
        super().__init__()
        self.data, self.seed, self.num_workers = data, seed, num_workers
        self._place = (0, 0)
        self._positions: list[list[int]] = []
        self._batches: Batches | None = None

    @property
    @abstractmethod
    def origin(self) -> str:
        """The source of the data, in one line for people."""

    @property
    def notes(self) -> Sequence[str]:
        """What people should know of the data, each in a line."""
        if self.num_workers <= cores():
            return ()
        return [f"{self.num_workers} processes were to load batches, and there are {cores()} cores: {cores()} do"]

    @property
    @abstractmethod
    def extent(self) -> str:
        """The amount of training data, for people."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""

    @property
    def size(self) -> int:
        """Batch size on each rank: rows, or tokens where rows are not counted."""
        return int(getattr(self, self.size_argument))

    @abstractmethod
    def facts(self, split: str) -> TextFacts:
        """Counts and hash of the text of a split, of the targets."""

    def sides(self, split: str) -> dict[str, TextFacts]:
        """Facts about all that is read of a split, by its name for people: the text, or sources and targets."""
        return {"text": self.facts(split)}

    @abstractmethod
    def training_batches(self, replica: Replica = Replica()) -> Batches:
        """The training batches of one rank."""

    @abstractmethod
    def scored_batches(self, split: str, replica: Replica = Replica()) -> Batches:
        """The batches of a split that one rank scores; together, the ranks score every target exactly once."""

    def _replica(self) -> Replica:
        return Replica(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Replica()

    def train_dataloader(self) -> "DataLoader[Batch]":
        """Batches of an epoch, from the position of a resumed run on."""
        place, self._place = self._place, (0, 0)
        replica = self._replica()
        self._batches = self.training_batches(replica)
        if self._positions:
            self._batches.seek(self._positions[replica.rank])
        overfit: float = getattr(self.trainer, "overfit_batches", 0)  # how many batches, or which part of them
        processes = min(self.num_workers, cores())
        return loader(self._batches, place=place, num_workers=processes, world=replica.world, fixed=overfit > 0)

    def val_dataloader(self) -> "DataLoader[Batch]":
        """The validation split, every target once."""
        return loader(self.scored_batches("validation", self._replica()))

    def test_dataloader(self) -> "DataLoader[Batch]":
        """The test split, every target once.

        Raises:
            InputError: there is none; a figure of the validation split is no test figure.
        """
        if "test" not in self.splits:
            raise InputError(
                f"{self.origin} has no test split; call validate for the figures of its validation split, or train "
                "with test_fraction=0.1 or data that has one"
            )
        return loader(self.scored_batches("test", self._replica()))

    def predict_dataloader(self) -> "DataLoader[Batch]":
        """The test split, or the validation split where there is none, every target once."""
        split = "test" if "test" in self.splits else "validation"
        return loader(self.scored_batches(split, self._replica()))

    def state_dict(self) -> dict[str, Any]:
        """Position in the data: epoch, number of its batches trained on, and the position of each rank in a stream.

        A collective operation: all ranks call it together, as Lightning does.
        """
        if self.trainer is None:
            return {}
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        done: int = progress.current.processed  # type: ignore[attr-defined]  # of the tracker that batches have
        epoch = self.trainer.current_epoch
        place = {"place": [epoch + 1, 0] if progress.is_last_batch else [epoch, done]}
        if self._batches is None or not (position := self._batches.position(done)):
            return place
        strategy = self.trainer.strategy
        ranks = strategy.all_gather(torch.tensor(position, device=strategy.root_device))
        return {**place, "positions": ranks.view(-1, len(position)).tolist()}

    def ranks(self, checkpoint: dict[str, Any]) -> int | None:
        """Number of processes that read the stream of a checkpoint; None if any number may resume it."""
        state = checkpoint.get(type(self).__qualname__)
        return len(state.get("positions", ())) or None if isinstance(state, dict) else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a position. Lightning calls it before it asks for the training data.

        Raises:
            InputError: a stream was read by another number of processes.
        """
        epoch, batch = state_dict["place"]
        self._place, self._positions = (int(epoch), int(batch)), state_dict.get("positions", [])
        count, now = len(self._positions), self._replica().world
        if count not in (0, now):
            raise InputError(f"the stream was read by {count} processes, there are {now} now; give --devices {count}")


class CorpusDataModule(SequenceDataModule):
    """Data of a corpus in splits. A tokenizer that is not given is trained on the training split.

    Its subclasses explain the arguments; `sizes` are others that must be at least 1.

    Raises:
        InputError: a value cannot be used.
    """

    corpus: Corpus
    pairs: bool = False
    """Whether the data are sentences with their translations."""

    @classmethod
    def _accepted(cls, name: str, value: Any) -> Any:
        return accepted(value, cls.pairs) if name == "data" else super()._accepted(name, value)

    def __init__(
        self, data: Any, tokenizer: str | Tokenizer, vocab_size: int | None, min_count: int, seed: int,
        num_workers: int, **sizes: int | None,
    ) -> None:  # fmt: skip
        data = accepted(data, self.pairs)
        if is_description(data):
            refuse_description(data)
        self.source_data: Any = data
        """Name or path of the data, two files of sentences, or what a program gave."""
        name = data.name if isinstance(data, Given) else data if isinstance(data, str) else data[-1]
        super().__init__(name, seed, num_workers)
        for name, value in {"min_count": min_count, **sizes}.items():
            if value is not None and value < 1:
                raise InputError(f"{name}={value} was given; expected at least 1")
        if isinstance(tokenizer, str):
            kinds = ("char", "byte", "bpe", "word")
            given = f"with tokenizer={tokenizer!r}; it is for"
            if tokenizer not in kinds and Path(tokenizer).suffix != ".json" and not Path(tokenizer).is_file():
                expected = f"{', '.join(kinds)} or the path of a tokenizer.json"
                raise InputError(f"the tokenizer {tokenizer!r} is not known; choose {expected}")
            if min_count > 1 and tokenizer != "word":
                raise InputError(f"min_count={min_count} was given {given} word only")
            if vocab_size is not None and tokenizer not in ("bpe", "word"):
                raise InputError(f"vocab_size={vocab_size} was given {given} bpe and word")
        self.wanted_tokenizer, self.vocab_size, self.min_count = tokenizer, vocab_size, min_count

    @property
    def origin(self) -> str:
        return self.corpus.origin

    @property
    def notes(self) -> Sequence[str]:
        return [*super().notes, *self.corpus.notes]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.corpus.splits)

    def make_tokenizer(self, columns: Sequence[str], bpe_size: int) -> Tokenizer:
        """The tokenizer that was given, or one trained on columns of the training split.

        `bpe_size` is the size of a bpe vocabulary if `vocab_size` is None.
        """

        def texts() -> Iterator[str]:
            for batch in self.corpus.rows("train").iter(256):
                for column in columns:
                    yield from batch[column]

        match self.wanted_tokenizer:
            case Tokenizer() as given:
                return given
            case "byte":
                return Tokenizer.byte()
            case "char":
                return Tokenizer.char(texts())
            case "word":
                return Tokenizer.word(texts(), self.vocab_size, self.min_count)
            case "bpe":
                return Tokenizer.bpe(texts(), self.vocab_size or bpe_size)
            case path:
                return Tokenizer.from_file(path)
