"""Lightning data modules: text in, batches out."""

import functools
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.utils.data import DataLoader

from seqmodels.batch import Batch
from seqmodels.data.column import TextFacts, token_column
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.loader import loader
from seqmodels.data.order import Share
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import Batches, Lanes, ScoredLanes, ScoredWindows, Windows
from seqmodels.errors import InputError
from seqmodels.recorded import Recorded


class TextDataModule(Recorded, pl.LightningDataModule):
    """Text for language models: windows read each on their own, or lanes with the state carried.

    Validation and test score every token of their split exactly once: with `carry`, from the start of the text to
    its end; without, in windows side by side.

    Args:
        data: "python" for the built-in corpus, a text file or directory (plain or .gz), or a hub name.
        subset: configuration of a hub dataset, such as wikitext-2-v1.
        column: column of a hub dataset that holds the text.
        tokenizer: char, byte or bpe; from Python also a Tokenizer that is there already.
        vocab_size: most tokens of a bpe vocabulary trained here.
        length: tokens T in a row of a batch; with carry, how far gradients reach back.
        batch_size: rows B of a batch on each device.
        carry: carry the state from batch to batch along lanes through the text (truncated BPTT).
        stride: distance between windows without carry; as long as a window where not given.
        shuffle: windows in random order, anew in each epoch, or as they come.
        val_share: share of the end that validates where the source has no validation split.
        seed: what the order of the data depends on; on the command line, the first weights too.
        num_workers: processes that gather batches; 0 is fastest unless batches are huge.
    """

    def __init__(
        self,
        data: str = "python",
        subset: str | None = None,
        column: str = "text",
        tokenizer: str | Tokenizer = "char",
        vocab_size: int = 1024,
        length: int = 64,
        batch_size: int = 16,
        carry: bool = False,
        stride: int | None = None,
        shuffle: bool = True,
        val_share: float = 0.1,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"length": length, "batch_size": batch_size, "stride": stride}.items():
            if value is not None and value < 1:
                raise InputError(f"{name}={value} was given; expected at least 1")
        if isinstance(tokenizer, str) and tokenizer not in ("char", "byte", "bpe"):
            raise InputError(f"the tokenizer {tokenizer!r} is not known; choose char, byte or bpe")
        self.data, self.subset, self.text_column, self.val_share = data, subset, column, val_share
        self.wanted_tokenizer, self.vocab_size = tokenizer, vocab_size
        self.length, self.batch_size, self.stride = length, batch_size, stride or length
        self.carry, self.shuffle, self.seed, self.num_workers = carry, shuffle, seed, num_workers
        self._place = (0, 0)
        self._columns: dict[str, tuple[Tensor, TextFacts]] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The text in its splits."""
        return load_corpus(self.data, subset=self.subset, column=self.text_column, val_share=self.val_share)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, made from the training split where it has to be."""
        if isinstance(self.wanted_tokenizer, Tokenizer):
            return self.wanted_tokenizer
        if self.wanted_tokenizer == "byte":
            return Tokenizer.byte()
        texts = (text for rows in self.corpus.rows("train").iter(256) for text in rows["text"])
        return Tokenizer.char(texts) if self.wanted_tokenizer == "char" else Tokenizer.bpe(texts, self.vocab_size)

    def _column(self, split: str) -> tuple[Tensor, TextFacts]:
        if split not in self._columns:
            self._columns[split] = token_column(self.corpus.rows(split), self.tokenizer)
        return self._columns[split]

    def tokens(self, split: str) -> Tensor:
        """The token column of a split, (N,), beginning with BOS; a memory map."""
        return self._column(split)[0]

    def facts(self, split: str) -> TextFacts:
        """Counts and hash of the text of a split."""
        return self._column(split)[1]

    def training_batches(self, share: Share = Share()) -> Batches:  # noqa: B008 - immutable
        """The batches that one rank trains on."""
        column = self.tokens("train")
        if self.carry:
            return Lanes(column, self.length, self.batch_size, self.seed, share)
        return Windows(column, self.length, self.batch_size, self.stride, self.shuffle, self.seed, share)

    def scored_batches(self, split: str, share: Share = Share()) -> Batches:  # noqa: B008 - immutable
        """The batches by which one rank scores a split: together, every token exactly once."""
        column = self.tokens(split)
        if self.carry:
            return ScoredLanes(column, max(self.length, 256), 8, share)
        return ScoredWindows(column, self.length, self.batch_size, share)

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
        split = "test" if "test" in self.corpus.splits else "validation"
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
