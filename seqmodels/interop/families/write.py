"""A model that was trained here becomes a folder of transformers, in the family whose settings can say all of it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from seqmodels.batch import BOS, EOS, PAD
from seqmodels.config import construct
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import local
from seqmodels.interop.families import families
from seqmodels.interop.families.family import FAR, Decoder, Rows
from seqmodels.interop.families.forms import BIASES, complete
from seqmodels.interop.families.read import CONFIG, theirs
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.shards import WEIGHTS
from seqmodels.interop.families.vocabulary import GENERATION, TOKENIZER, TOKENIZER_CONFIG, Vocabulary
from seqmodels.interop.families.write_translator import export_translator
from seqmodels.interop.tokenizer_files import for_transformers
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

UNEQUAL = ("bias", "dropout")
"""Arguments that may be others in the family's settings: see `BIASES`; and dropout does not change what is loaded."""


def export_hf(task: SequenceTask, folder: str | Path) -> str:
    """Write a model as a new folder that `AutoModelForCausalLM`, or for a translator `AutoModelForSeq2SeqLM`, and
    `AutoTokenizer` of transformers load.

    Its logits are equal for the same ids. The tokenizer puts BOS in front of a text where prompts here have one.

    Args:
        task: a `LanguageModel` in the form of a known family, without a bias of its softmax layer; or a `Translator`,
            see `export_translator`.
        folder: a new one.

    Returns:
        One line: the family, and what the folder does not hold.

    Raises:
        InputError: no family can say all of its settings, or the folder is there or cannot be made.
    """
    if isinstance(task, Translator):
        return export_translator(task, folder)
    family, config = choose(task)
    assert isinstance(task, LanguageModel)
    weights = _weights(task, family, config)
    files = _tokenizer_files(task.tokenizer, task.backbone.max_length)
    tables = [tensor for name, tensor in weights.items() if name.endswith(family.weights["embedding.weight"].name)]
    ends = _special_ids(task.tokenizer)
    whole = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        "vocab_size": len(tables[0]),
        "tie_word_embeddings": family.tied is not None and task.head.weight is task.embedding.weight,
        "dtype": str(tables[0].dtype).removeprefix("torch."),
        **ends,
        **config,
    }
    files |= {CONFIG: whole, GENERATION: ends}
    folder = local(folder)
    if folder.exists():
        raise InputError(f"{str(folder)!r} is there already, and nothing is written over; give a new folder")
    beside = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (beside / name).write_bytes(text.encode())
        save_file(weights, beside / WEIGHTS, {"format": "pt"})
        beside.rename(folder)
    except OSError as error:
        raise InputError(f"cannot make {str(folder)!r}: {error.strerror or error}; give another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    limits = ["the settings of its training"]
    if task.backbone.max_length is None and "max_position_embeddings" in config and "sliding_window" not in config:
        limits.append(f"the window of {config.get('max_position_embeddings')} positions in longer texts")
    of = f" of {family.library}" if family.library != Decoder.library else ""
    return f"a {family.architecture}{of}; it does not hold {', nor '.join(limits)}"


def choose(task: SequenceTask) -> tuple[Decoder, dict[str, Any]]:
    """The family in whose form a language model is, and its settings there.

    Raises:
        InputError: there is none; it says what the nearest one lacks.
    """
    network = getattr(task, "backbone", None)
    known = [family for family in families().values() if isinstance(family, Decoder)]
    fitting = [family for family in known if type(network) is family.backbone]
    if not isinstance(task, LanguageModel) or not fitting:
        name = type(task if network is None else network).__name__
        raise InputError(
            f"transformers has no form for a {name} of this package; expected a LanguageModel of one of "
            f"{', '.join(dict.fromkeys(family.backbone.__name__ for family in known))}"
        )
    if bool((task.head.bias[task.head.bias.isfinite()] != 0).any()):
        raise InputError(
            "the softmax layer has a bias, which families of transformers have not; train with head_bias=False "
            "(--no-head-bias)"
        )
    kind, cap = type(task.backbone), getattr(task.head, "cap", None)
    ours = complete(task.backbone.constructor_call["init_args"], kind)
    found = list[tuple[int, int, Decoder, dict[str, Any], list[str]]]()
    own = EOS not in task.tokenizer.origins
    for family in fitting:
        config = family.config(ours)
        try:
            back = complete(family.network(Settings(config, family.model_type)), kind)
        except InputError:
            continue
        lacking = [f"{name}={ours[name]}" for name in ours if name not in UNEQUAL and ours[name] != back[name]]
        more = BIASES.index(back["bias"]) - BIASES.index(ours["bias"]) if "bias" in ours else 0
        lacking += [f"bias={ours['bias']}"] * (more < 0) if "bias" in ours else []
        if family.cap is not None:
            config[family.cap] = FAR if cap is None else cap
        elif cap is not None:
            lacking.append(f"logit_cap={cap}")
        found.append((len(lacking), more + 9 * (own and not family.any_tokenizer), family, config, lacking))
    if not found:
        raise InputError(
            f"no family of transformers that is known here has the form of this {kind.__name__}; see docs/families.md"
        )
    _, _, family, config, lacking = min(found, key=lambda one: one[:2])
    if lacking:
        raise InputError(
            f"no family of transformers that is known here has the form of this {kind.__name__}; the nearest, "
            f"{family.model_type}, lacks {', '.join(lacking)}"
        )
    return family, config


def _weights(task: LanguageModel, family: Decoder, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the family by its names."""
    tied = family.tied is not None and task.head.weight is task.embedding.weight
    settings = Settings({**config, "tie_word_embeddings": tied}, CONFIG)
    variant = family.variant(settings, ())
    with torch.device("meta"):
        outline = construct(family.task(settings, task.tokenizer), SequenceTask)
    own, vocabulary, found = task.state_dict(), Vocabulary(task.tokenizer), dict[str, Tensor]()
    for name, empty in outline.state_dict().items():
        weight, names = theirs(variant, name)
        if weight is None or (tied and name == "head.weight"):
            continue
        tensor = own[name] if name in own else torch.zeros(empty.shape, dtype=task.embedding.weight.dtype)
        parts = [vocabulary.write(tensor)] if isinstance(weight, Rows) else weight.split(tensor, family.heads(task))
        prefixed = [one if one in family.outside else family.prefix + one for one in names]
        found |= {one: part.contiguous().clone() for one, part in zip(prefixed, parts, strict=True)}
    return found


def _special_ids(tokenizer: Tokenizer) -> dict[str, int | list[int]]:
    """Ids of tokens that begin, end and fill a text, as the folder's tokenizer has them."""
    if EOS in tokenizer.origins:
        end = tokenizer.origins[EOS]
        ends = [end, *(i - tokenizer.shift for i in sorted(tokenizer.ends - {EOS}))]
        several = {"eos_token_id": ends if len(ends) > 1 else end}
        return {"bos_token_id": tokenizer.origins[BOS], **several, "pad_token_id": end}
    return {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}


def _tokenizer_files(tokenizer: Tokenizer, longest: int | None) -> dict[str, Any]:
    """The files of a tokenizer that gives the ids of the folder, BOS in front where a prompt has it."""
    if EOS in tokenizer.origins:
        given = tokenizer.constructor_call["init_args"]
        end = given["end"] if isinstance(given["end"], str) else given["end"][0]
        names = {"bos_token": given["start"], "eos_token": end, "pad_token": end}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "clean_up_tokenization_spaces": False}
        return {TOKENIZER: tokenizer.json, TOKENIZER_CONFIG: settings | {"model_max_length": longest or int(1e30)}}
    files: dict[str, Any] = dict(for_transformers(tokenizer, longest))
    content, first = json.loads(files[TOKENIZER]), json.loads(files[TOKENIZER_CONFIG])["bos_token"]
    piece = {"SpecialToken": {"id": first, "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [piece, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [piece, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {first: {"id": first, "ids": [BOS], "tokens": [first]}},
    }
    return files | {TOKENIZER: json.dumps(content, ensure_ascii=False)}
