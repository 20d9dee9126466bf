"""A trained language model mixed with n-grams and with a cache of what it has read, without further training."""

from dataclasses import dataclass
from typing import TypeVar, cast

from torch import nn

from seqmodels.config import class_path, construct
from seqmodels.errors import InputError
from seqmodels.nn import Mixture, NGram
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.sequence_model import SequenceModel

T = TypeVar("T", bound=SequenceModel)


@dataclass(frozen=True)
class Mix:
    """What a language model is mixed with; see `nn.mixture.Mixture`.

    Attributes:
        counts: a trained n-gram model.
        counts_weight: its share.
        cache: positions of the cache; 0 for none.
        cache_weight: its share.
        cache_sharpness: how much more alike positions count.
    """

    counts: SequenceModel | None = None
    counts_weight: float = 0.2
    cache: int = 0
    cache_weight: float = 0.1
    cache_sharpness: float = 0.3

    def describe(self) -> str:
        """In words."""
        parts = [f"counts at {self.counts_weight:g}"] * (self.counts is not None)
        parts += [f"a cache of {self.cache:,} positions at {self.cache_weight:g}"] * bool(self.cache)
        return f"mixed with {' and '.join(parts)}"


def mixed(task: T, mix: Mix) -> T:
    """A language model that shares the weights of another, mixed with counts, a cache, or both.

    It can do what any language model can, dynamic evaluation included.

    Raises:
        InputError: one of the two is of another kind, their vocabularies differ, or a weight is no share.
    """
    if not isinstance(task, AutoregressiveModel):
        raise InputError(f"a {task.kind} was given to be mixed; expected a LanguageModel")
    network = None
    if mix.counts is not None:
        if not (isinstance(mix.counts, AutoregressiveModel) and isinstance(mix.counts.backbone, NGram)):
            raise InputError(f"counts were given of {mix.counts.name}; expected a run of NGram")
        if mix.counts.tokenizer.json != task.tokenizer.json:
            raise InputError(
                "the counts are of another vocabulary than the model; count the same text with its tokenizer: "
                "--backbone NGram and the same --data and --tokenizer"
            )
        network = mix.counts.backbone
    mixture = Mixture(
        task.backbone, task.tokenizer.vocab_size, network, mix.counts_weight, mix.cache, mix.cache_weight,
        mix.cache_sharpness,
    )  # fmt: skip
    mixture.embedding, mixture.head = task.embedding, task.head
    arguments = {"backbone": mixture, "tokenizer": task.tokenizer}
    call = {"class_path": class_path(AutoregressiveModel), "init_args": arguments}
    made = construct(call, AutoregressiveModel).to(task.embedding.weight.device).train(task.training)
    made.loaded_from, made.longest_target = task.loaded_from, task.longest_target
    return cast(T, made)  # of the same part of the package as the task


def unmixed(task: T) -> T:
    """The language model of a mixture, which shares its weights, in evaluation; another model as it is."""
    if not isinstance(task, AutoregressiveModel) or not isinstance(mixture := task.backbone, Mixture):
        return task
    arguments = {"backbone": mixture.network, "tokenizer": task.tokenizer}
    made = construct({"class_path": class_path(AutoregressiveModel), "init_args": arguments}, AutoregressiveModel)
    made.embedding, made.head = mixture.embedding, cast(nn.Linear, mixture.head)
    return cast(T, made.eval())
