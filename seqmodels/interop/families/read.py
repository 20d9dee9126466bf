"""A folder of a public family becomes a constructor call and weights of this package, as a file of ours holds them."""

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodels.config import Call, construct
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.interop.families import families
from seqmodels.interop.families.family import Family, Projected, Rows, Weight
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.shards import Shards
from seqmodels.interop.families.vocabulary import Vocabulary
from seqmodels.tasks.outline import at_most
from seqmodels.tasks.sequence_model import SequenceModel

CONFIG = "config.json"
GROWTH = 8
"""Most times that a table becomes wider when it is multiplied out."""


def is_family(folder: Path) -> bool:
    """Whether a folder holds a model of transformers, of whatever family."""
    return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)


def family_of(config: dict[str, Any], where: str) -> Family:
    """The family that the content of `config.json` names.

    Raises:
        InputError: it is not known here.
    """
    known = families()
    if (name := config.get("model_type")) not in known:
        raise InputError(f"{where} is a model of type {name!r:.60}; known here: {', '.join(known)}")
    return known[str(name)]


def read_family(folder: Path) -> tuple[Call, dict[str, Tensor], dict[str, Tokenizer]]:
    """The constructor call of a model in a folder; its weights by our names, in single precision; and its tokenizers,
    which the call describes, by their arguments.

    The model is made without memory first, and then its weights are read one by one, so that memory holds little more
    than they need.

    Raises:
        DamagedError: a file is truncated.
        InputError: it is of no known family, settings and weights do not fit, or a file is missing or foreign.
    """
    where = repr(str(folder / CONFIG))
    settings = Settings(read_json(folder / CONFIG), where, folder)
    family = family_of(settings.fields, where)
    shards = Shards(folder, family.prefix, family.unused)
    family = family.variant(settings, shards)
    tokenizers = family.tokenizers(folder, settings)
    call = family.task(settings, **tokenizers)
    with at_most(2 * len(shards) + 16), torch.device("meta"):
        outline: SequenceModel = construct(call, SequenceModel)
    weights = _weights(family, outline, shards, {name: Vocabulary(one) for name, one in tokenizers.items()})
    calls = {name: one.constructor_call for name, one in tokenizers.items()}
    return {**call, "init_args": {**call["init_args"], **calls}}, weights, tokenizers


def _weights(
    family: Family, outline: SequenceModel, shards: Shards, vocabularies: dict[str, Vocabulary]
) -> dict[str, Tensor]:
    """The weights of a model by its names. A table that is tied is read once."""
    expected = outline.state_dict(keep_vars=True)
    found, heads, used = dict[str, Tensor](), family.heads(outline), set[str]()
    tied = dict[int, str]()
    for name, parameter in sorted(expected.items(), key=lambda item: -item[1].numel()):  # while there is room
        if (first := tied.setdefault(id(parameter), name)) != name:
            found[name] = found[first]
            continue
        weight, names = theirs(family, name)
        side = "source_tokenizer" if name.startswith("source_") else "tokenizer"
        vocabulary = vocabularies.get(side, vocabularies["tokenizer"])
        if weight is None or (name == "head.bias" and names[0] not in shards):
            found[name] = vocabulary.never()
            continue
        if missing := [one for one in names if one not in shards]:
            raise InputError(f"{str(shards.folder)!r} has no tensor {missing[0]!r}, which its config.json asks for")
        used |= set(names)
        if isinstance(weight, Rows):
            rows = vocabulary.read(shards, names[0])
            if isinstance(weight, Projected):
                _check_matrix(shards, names, weight.shape(parameter.shape[1], rows.shape[1]))
            found[name] = weight.multiplied(rows, [shards.read(one) for one in names[1:]])
            if name == "head.bias":
                found[name] += vocabulary.never()
        else:
            found[name] = _joined(weight, names, shards, parameter, heads)
        if found[name].shape != parameter.shape:
            shapes = ", ".join(f"{one!r} {shards.shape(one)}" for one in names)
            raise InputError(
                f"config.json in {str(shards.folder)!r} does not fit the weights: {shapes} would be "
                f"{tuple(found[name].shape)} here, expected {tuple(parameter.shape)}"
            )
    tables = {one for weight in family.weights.values() if isinstance(weight, Rows) for one in weight.names}
    if others := shards.others(used | tables):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(f"{str(shards.folder)!r} has the tensor {others[0]!r:.100}{more}, which its config.json lacks")
    return found


def _check_matrix(shards: Shards, names: list[str], expected: tuple[int, int]) -> None:
    """Refuse, before it is multiplied, a matrix of another size, and one by which memory would grow many times."""
    table, matrix = names
    if shards.shape(matrix) != expected or max(expected) > GROWTH * min(expected):
        raise InputError(
            f"config.json in {str(shards.folder)!r} does not fit the weights: {table!r} {shards.shape(table)} is "
            f"multiplied by {matrix!r} {shards.shape(matrix)}, expected {expected}, and at most {GROWTH} times as wide"
        )


def theirs(family: Family, name: str) -> tuple[Weight | None, list[str]]:
    """The weight of a family that one of ours is, and the names of its tensors; None for a bias of the softmax layer
    that the family lacks.
    """
    number = re.search(r"\.blocks\.(\d+)\.", name)
    weight = family.weights.get(name, family.weights.get(re.sub(r"\.blocks\.\d+\.", ".blocks.{}.", name)))
    if weight is None and name != "head.bias":
        raise InputError(f"{family.model_type} has no weights for {name!r}; leave out what the network has more")
    return weight, [one.format(number and number[1]) for one in weight.names] if weight else []


def _joined(weight: Weight, names: list[str], shards: Shards, parameter: Tensor, heads: tuple[int, int]) -> Tensor:
    """One of our weights; refused, before it is read, where theirs are of another size."""
    if not names:
        return torch.zeros(parameter.shape)
    held = weight.taken(sum(math.prod(shards.shape(one)) for one in names))
    if held != parameter.numel():
        shapes = ", ".join(f"{one!r} {shards.shape(one)}" for one in names)
        raise InputError(
            f"config.json in {str(shards.folder)!r} does not fit the weights: {shapes} has {held:,} numbers, and "
            f"{parameter.numel():,} are needed"
        )
    return weight.joined([shards.read(one) for one in names], heads)
