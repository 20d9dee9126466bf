"""What all data modules have in common: loaders of whole batches, and a place in them to resume from."""

from abc import ABC, abstractmethod
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from seqmodels.batch import Batch
from seqmodels.config import Recorded
from seqmodels.data.sampler import Batches, Replica, loader
from seqmodels.data.token_column import TextFacts
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError


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
        self._positions: list[list[int]] = []
        self._batches: Batches | None = None

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
    def training_batches(self, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        """The batches that one rank trains on."""

    @abstractmethod
    def scored_batches(self, split: str, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        """The batches by which one rank scores a split: together, every token exactly once, or those chosen."""

    def _replica(self) -> Replica:
        return Replica(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Replica()

    def train_dataloader(self) -> "DataLoader[Batch]":
        """Batches of an epoch, from where a resumed run stopped."""
        place, self._place = self._place, (0, 0)
        replica = self._replica()
        self._batches = self.training_batches(replica)
        if self._positions:
            self._batches.seek(self._positions[replica.rank])
        return loader(self._batches, place=place, num_workers=self.num_workers)

    def val_dataloader(self) -> "DataLoader[Batch]":
        """The validation split, every token once."""
        return loader(self.scored_batches("validation", self._replica()))

    def test_dataloader(self) -> "DataLoader[Batch]":
        """The test split, every token once; where there is none, validation stands in."""
        split = "test" if "test" in self.splits else "validation"
        return loader(self.scored_batches(split, self._replica()))

    def state_dict(self) -> dict[str, Any]:
        """Place in the data: epoch, batches of it that have been trained on, and of a stream the position of each rank.

        All ranks are to call it together, as Lightning has it.
        """
        if self.trainer is None:
            return {}
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        done: int = progress.current.processed  # type: ignore[attr-defined]  # of the tracker that batches have
        epoch = self.trainer.current_epoch
        place = {"place": [epoch + 1, 0] if progress.is_last_batch else [epoch, done]}
        position = self._batches.position(done) if self._batches else []
        if not position:
            return place
        strategy = self.trainer.strategy
        ranks = strategy.all_gather(torch.tensor(position, device=strategy.root_device))
        return {**place, "positions": ranks.view(-1, len(position)).tolist()}

    def ranks(self, checkpoint: dict[str, Any]) -> int | None:
        """How many processes read the stream that a run was saved in; None where any number may go on."""
        return len(checkpoint.get(type(self).__qualname__, {}).get("positions", ())) or None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there: called by Lightning before it asks for the training data.

        Raises:
            InputError: a stream was read by another number of processes.
        """
        epoch, batch = state_dict["place"]
        self._place, self._positions = (int(epoch), int(batch)), state_dict.get("positions", [])
        if self._positions and len(self._positions) != self._replica().world:
            raise InputError(
                f"the stream was read by {len(self._positions)} processes, each from a place of its own, and there are "
                f"{self._replica().world} now; give --devices {len(self._positions)}"
            )
