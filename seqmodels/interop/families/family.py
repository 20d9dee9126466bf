"""What a family of public models says about itself: settings and names of weights, as here and back.

A new family is a module with a `FAMILY`, an object of a subclass of `Family`, and its name in `families.KNOWN`. For a
decoder-only network, subclass `Decoder`: a table of names and two functions between settings, `network` and `config`.
An encoder-decoder subclasses `Family` itself and says which task it is. `read.py` reads any family.
"""

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqmodels.config import Call, class_path
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.vocabulary import read_tokenizer
from seqmodels.nn import Transformer
from seqmodels.nn.transformer import ResidualStack
from seqmodels.tasks.autoregressive_model import AutoregressiveModel

FAR = 1e9
"""A bound that no logit comes near, where a family has no other way to say that there is none."""
Heads = tuple[int, int]
"""Heads of queries, and of keys and values."""


@dataclass(frozen=True)
class Weight:
    """The tensor of another program that one of ours is, by its name, in which `{}` is the number of a block."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors of the other program that it takes."""
        return (self.name,)

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        """Our tensor, of theirs."""
        return parts[0]

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        """Their tensors, of ours."""
        return [ours]

    def taken(self, held: int) -> int:
        """How many of all numbers in their tensors are ours."""
        return held


class Transposed(Weight):
    """A matrix (in, out), as GPT-2 has them."""

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        return parts[0].mT  # as it lies in the file: nothing is copied

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return [ours.mT]


@dataclass(frozen=True)
class Stacked(Weight):
    """Matrices or biases that are one of ours, the first on top: queries, keys and values, or two of equal size."""

    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.others)

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        return torch.cat(list(parts))

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        shares = [heads[0], heads[1], heads[1]] if len(self.names) == 3 else [1] * len(self.names)
        return list(torch.split(ours, [len(ours) // sum(shares) * share for share in shares]))


class ByHead(Weight):
    """Queries, keys and values of the first head, then of the second, and so on, as GPT-NeoX has them."""

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        return parts[0].view(heads[0], 3, -1).transpose(0, 1).reshape(parts[0].shape)

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return [ours.reshape(3, heads[0], -1).transpose(0, 1).reshape(ours.shape)]


@dataclass(frozen=True)
class Arranged(Weight):
    """Tensors one above the other whose parts are in another order here.

    Args:
        others: further tensors.
        counts: number of parts in each tensor.
        sizes: rows of all parts, in their order.
        order: the number of the part that is our first, our second, and so on.
    """

    others: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.others)

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        whole = torch.cat(list(parts))
        if len(whole) != sum(self.sizes):
            return whole  # of another shape, which is said
        found = torch.split(whole, list(self.sizes))
        return torch.cat([found[number] for number in self.order])

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        found = dict(zip(self.order, torch.split(ours, [self.sizes[n] for n in self.order]), strict=True))
        parts = iter([found[number] for number in range(len(self.sizes))])
        return [torch.cat([next(parts) for _ in range(count)]) for count in self.counts]


def arranged(names: Sequence[str], sizes: Sequence[Sequence[int]], order: Sequence[int] | None = None) -> Arranged:
    """See `Arranged`: tensors by name, and the rows of the parts of each; by default all in their order."""
    flat = tuple(size for one in sizes for size in one)
    chosen = tuple(range(len(flat))) if order is None else tuple(order)
    return Arranged(names[0], tuple(names[1:]), tuple(len(one) for one in sizes), flat, chosen)


class Zeros(Weight):
    """A bias that a model has not."""

    @property
    def names(self) -> tuple[str, ...]:
        return ()


class Scaled(Weight):
    """A last norm, whose outputs are divided by the square root of their size."""

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        return parts[0] * float(len(parts[0]) ** -0.5)

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return [ours * float(len(ours) ** 0.5)]


class Rows(Weight):
    """A table or a bias with one row for each token: ours has other rows, see `vocabulary.py`."""

    def multiplied(self, rows: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Our table, of theirs with our rows, and of their further tensors."""
        return rows


@dataclass(frozen=True)
class Projected(Rows):
    """A table of narrower vectors, and the matrix between them and the network; ours is their product."""

    others: tuple[str, ...] = ()
    transposed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.others)

    def multiplied(self, rows: Tensor, others: Sequence[Tensor]) -> Tensor:
        (matrix,) = others
        return rows @ (matrix.mT if self.transposed else matrix)

    def shape(self, size: int, narrow: int) -> tuple[int, int]:
        """Of the matrix between a network of that size and vectors that are narrower."""
        return (size, narrow) if self.transposed else (narrow, size)


def stacked(*names: str) -> Stacked:
    """See `Stacked`."""
    return Stacked(names[0], names[1:])


class Family(ABC):
    """A family of models; all names are those of transformers."""

    model_type: str
    architecture: str
    """The class in transformers."""
    library: str = "transformers"
    """What has it, if not that."""
    prefix: str = ""
    """In front of the names of all tensors; some files leave it out, or its first part."""
    outside: tuple[str, ...] = ("lm_head.weight",)
    """Tensors without it."""
    unused: tuple[str, ...] = ()
    """Regular expressions of names of tensors that are no weights, such as masks."""
    weights: ClassVar[Mapping[str, Weight]]
    """Theirs by ours, in which `{}` is the number of a block. Biases that a model lacks may be in it."""

    def variant(self, settings: Settings, names: Container[str]) -> "Family":
        """The family as a folder has it, which may have other weights, by the settings and the names of its tensors."""
        return self

    def tokenizers(self, folder: Path, settings: Settings) -> dict[str, Tokenizer]:
        """The tokenizers of a folder, by the argument of the task."""
        return {"tokenizer": read_tokenizer(folder, settings)}

    @abstractmethod
    def task(self, settings: Settings, tokenizer: Tokenizer, **others: Tokenizer) -> Call:
        """The constructor call of the task, with the tokenizers themselves in it.

        Raises:
            InputError: a setting is malformed, or has a value that networks here do not know.
        """

    @abstractmethod
    def heads(self, task: Any) -> Heads:
        """Of the layers of a task, or of one without memory."""


class Decoder(Family):
    """A decoder-only family: a `LanguageModel` of a `Transformer`, or of another network."""

    backbone: type[ResidualStack] = Transformer
    cap: str | None = None
    """Name of the setting that softly bounds the logits."""

    tied: bool | None = False
    """Whether embedding and softmax layer are one matrix where `tie_word_embeddings` is missing; None if they never are
    in transformers, whatever it says."""
    any_tokenizer = True
    """Whether `AutoTokenizer` reads any `tokenizer.json` for it, rather than its pieces into a class of its own."""

    @abstractmethod
    def network(self, settings: Settings) -> dict[str, Any]:
        """Arguments of the network."""

    @abstractmethod
    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse of `network`, of all arguments; what it cannot say, it may leave out: see `write.py`."""

    def task(self, settings: Settings, tokenizer: Tokenizer, **others: Tokenizer) -> Call:
        backbone = {"class_path": class_path(self.backbone), "init_args": self.network(settings)}
        tied = self.tied is not None and settings.get("tie_word_embeddings", self.tied)
        arguments = {"backbone": backbone, "tokenizer": tokenizer, "tie_embeddings": tied, "head_bias": False}
        if self.cap is not None and (cap := settings.get(self.cap, 30.0)) < FAR:
            arguments["logit_cap"] = cap
        return {"class_path": class_path(AutoregressiveModel), "init_args": arguments}

    def heads(self, task: AutoregressiveModel) -> Heads:
        network = task.backbone
        assert isinstance(network, ResidualStack)
        return network.heads
