"""What all data modules have in common: loaders of whole batches, and a place in them to resume from."""

from abc import ABC, abstractmethod
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader

from seqmodels.batch import Batch
from seqmodels.data.column import TextFacts
from seqmodels.data.loader import loader
from seqmodels.data.order import Share
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import Batches
from seqmodels.recorded import Recorded


class SequenceDataModule(Recorded, pl.LightningDataModule, ABC):
    """Data for a task, which an epoch and a number give batch by batch.

    Args:
        data: where it comes from.
        seed: what its order depends on.
        num_workers: processes that gather batches; 0 is fastest unless batches are huge.
    """

    tokenizer: Tokenizer
    """What the ids of targets mean."""
    length: int | None = None
    """Positions T of a batch where all have as many."""
    carry: bool = False
    """Whether the state goes from batch to batch."""

    size_argument: str
    """Name of the argument that says how large a batch is on each rank."""
    order: tuple[str, ...]
    """Arguments on which it depends what batch `k` of epoch `e` is: a resumed run needs the same."""

    def __init__(self, data: str, seed: int, num_workers: int) -> None:
        super().__init__()
        self.data, self.seed, self.num_workers = data, seed, num_workers
        self._place = (0, 0)

    @property
    @abstractmethod
    def origin(self) -> str:
        """One line for people: what the data is."""

    @property
    @abstractmethod
    def extent(self) -> str:
        """How much there is to train on, for people."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the parts that there are."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How large a batch is on each rank: rows, or tokens where rows are not counted."""

    @abstractmethod
    def facts(self, split: str) -> TextFacts:
        """Counts and hash of the text of a split, of what is predicted."""

    @abstractmethod
    def training_batches(self, share: Share = Share()) -> Batches:  # noqa: B008 - immutable
        """The batches that one rank trains on."""

    @abstractmethod
    def scored_batches(self, split: str, share: Share = Share()) -> Batches:  # noqa: B008 - immutable
        """The batches by which one rank scores a split: together, every token exactly once, or those chosen."""

    def _share(self) -> Share:
        return Share(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Share()

    def train_dataloader(self) -> "DataLoader[Batch]":
        """Batches of an epoch, from where a resumed run stopped."""
        place, self._place = self._place, (0, 0)
        return loader(self.training_batches(self._share()), place=place, num_workers=self.num_workers)

    def val_dataloader(self) -> "DataLoader[Batch]":
        """The validation split, every token once."""
        return loader(self.scored_batches("validation", self._share()))

    def test_dataloader(self) -> "DataLoader[Batch]":
        """The test split, every token once; where there is none, validation stands in."""
        split = "test" if "test" in self.splits else "validation"
        return loader(self.scored_batches(split, self._share()))

    def state_dict(self) -> dict[str, Any]:
        """Place in the data: epoch, and batches of it that have been trained on."""
        if self.trainer is None:
            return {}
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        done: int = progress.current.processed  # type: ignore[attr-defined]  # of the tracker that batches have
        epoch = self.trainer.current_epoch
        return {"place": [epoch + 1, 0] if progress.is_last_batch else [epoch, done]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there: called by Lightning before it asks for the training data."""
        epoch, batch = state_dict["place"]
        self._place = int(epoch), int(batch)
