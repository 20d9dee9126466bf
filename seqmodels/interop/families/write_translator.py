"""A translator that was trained here becomes a folder of transformers, as a Marian or a T5."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from seqmodels.batch import BOS, EOS, PAD, UNK
from seqmodels.config import construct
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import local
from seqmodels.interop.families import families
from seqmodels.interop.families.encoder_decoder import TARGET, EncoderDecoder
from seqmodels.interop.families.family import Rows
from seqmodels.interop.families.forms import BIASES, complete
from seqmodels.interop.families.read import CONFIG, theirs
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.shards import WEIGHTS
from seqmodels.interop.families.t5 import ENDLESS
from seqmodels.interop.families.translator_tokenizers import has_own_ids, original_files
from seqmodels.interop.families.vocabulary import GENERATION, TOKENIZER, Vocabulary
from seqmodels.interop.tokenizer_files import for_transformers
from seqmodels.nn import Transformer
from seqmodels.tasks import SequenceTask, Translator

USUAL_LENGTH = 512
"""Most tokens of a translation where the model comes with no search."""
UNEQUAL = ("dropout", "context", "window", "bias", "causal", "memory_size")
"""Arguments that may be others in the family's settings; a bias that a network lacks is written as zeros."""


def export_translator(task: Translator, folder: str | Path) -> str:
    """Write a translator as a new folder that `AutoModelForSeq2SeqLM` and `AutoTokenizer` of transformers load.

    Its logits are equal for the same ids. Where source and target have tokenizers of their own, that of the target is
    in the folder `target_tokenizer` inside.

    Args:
        task: a `Translator` of two Transformers in the form of Marian or T5.
        folder: a new one.

    Returns:
        One line: the family, and what the folder does not hold.

    Raises:
        InputError: no family can say all of its settings, or the folder is there or cannot be made.
    """
    family, config = choose_translator(task)
    ids = _special_ids(task.tokenizer)
    weights = _weights(task, family, config)
    sizes = [one.vocab_size - one.shift * has_own_ids(one) for one in (task.source_tokenizer, task.tokenizer)]
    config |= {
        "model_type": family.model_type, "architectures": [family.architecture], "is_encoder_decoder": True,
        "vocab_size": sizes[0], "dtype": str(task.head.weight.dtype).removeprefix("torch."), **ids,
    }  # fmt: skip
    if family.model_type == "marian":
        config["decoder_vocab_size"] = sizes[1]
    files: dict[str, Any] = {CONFIG: config, GENERATION: _generation(task, ids)}
    if family.model_type == "t5" and config["num_decoder_layers"] > config["num_layers"]:
        files[GENERATION]["use_cache"] = False  # transformers 5.24.0 makes a cache of as many layers as the encoder
    limits = ["the settings of its training"]
    if family.model_type == "t5" and isinstance(task.encoder, Transformer) and task.encoder.window < ENDLESS:
        limits.append(f"the window of {task.encoder.window:,} positions in longer texts")
    if task.beam.normalization != "length" or task.beam.coverage_penalty:
        limits.append("the normalization and the coverage of its search")
    if has_own_ids(task.tokenizer):
        files |= original_files(task, family)
    else:
        files |= _tokenizer_files(task.source_tokenizer)
        if task.source_tokenizer.json != task.tokenizer.json:
            files |= {f"{TARGET}/{name}": text for name, text in _tokenizer_files(task.tokenizer).items()}
    _write(local(folder), files, weights)
    return f"a {family.architecture}; it does not hold {', nor '.join(limits)}"


def choose_translator(task: SequenceTask) -> tuple[EncoderDecoder, dict[str, Any]]:
    """The family in whose form a translator is, and its settings there.

    Raises:
        InputError: there is none; it says what the nearest one lacks.
    """
    networks = [getattr(task, name, None) for name in ("encoder", "decoder")]
    if not all(isinstance(one, Transformer) for one in networks):
        names = " and ".join(type(one).__name__ for one in networks)
        raise InputError(f"transformers has no form for {names} of this package; expected a Translator of Transformers")
    assert isinstance(task, Translator)
    ours = [complete(one.constructor_call["init_args"]) for one in networks if isinstance(one, Transformer)]
    found = list[tuple[EncoderDecoder, dict[str, Any], list[str]]]()
    for family in families().values():
        if not isinstance(family, EncoderDecoder):
            continue
        config = family.config(ours[0], ours[1])
        config |= family.tying(task)
        try:
            back = [complete(one) for one in family.networks(Settings(config, family.model_type))]
        except InputError:
            continue
        lacking = [
            f"{side} with {name}={own[name]}"
            for side, own, other in zip(("encoder", "decoder"), ours, back, strict=True)
            for name in other
            if (name not in UNEQUAL and own[name] != other[name])
            or (name == "bias" and BIASES.index(own[name]) > BIASES.index(other[name]))
        ]
        found.append((family, config, lacking + family.lacks(task)))
    family, config, lacking = min(found, key=lambda one: len(one[2]))
    if lacking:
        raise InputError(
            f"no translator of transformers that is known here has this form; the nearest, {family.model_type}, lacks "
            f"{', '.join(lacking):.300}"
        )
    return family, config


def _weights(task: Translator, family: EncoderDecoder, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the family by its names."""
    tied = task.head.weight is task.embedding.weight
    variant = family.variant(Settings(config, CONFIG), () if tied else ("lm_head.weight",))
    assert isinstance(variant, EncoderDecoder)
    arguments = {"tokenizer": task.tokenizer, "source_tokenizer": task.source_tokenizer}
    with torch.device("meta"):
        outline = construct(variant.task(Settings(config, CONFIG), **arguments), SequenceTask)
    own, found = task.state_dict(), dict[str, Tensor]()
    for name, empty in outline.state_dict().items():
        weight, names = theirs(variant, name)
        if weight is None or (tied and name == "head.weight"):
            continue
        tensor = own[name] if name in own else torch.zeros(empty.shape, dtype=task.head.weight.dtype)
        if isinstance(weight, Rows):
            side = task.source_tokenizer if name.startswith("source_") else task.tokenizer
            rows = Vocabulary(side).write(tensor)
            parts = [rows.view(1, -1) if name == "head.bias" else rows]
        else:
            parts = weight.split(tensor, variant.heads(task))
        prefixed = [one if one in variant.outside else variant.prefix + one for one in names]
        found |= {one: part.contiguous().clone() for one, part in zip(prefixed, parts, strict=True)}
    return found


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of tokens that begin, end and fill a text, as the folder's tokenizer has them."""
    start, end = (tokenizer.origins.get(role, role) for role in (BOS, EOS))
    pad = start if has_own_ids(tokenizer) else PAD
    return {"decoder_start_token_id": start, "bos_token_id": start, "eos_token_id": end, "pad_token_id": pad}


def _generation(task: Translator, ids: Mapping[str, int]) -> dict[str, Any]:
    """The model's search as transformers has it."""
    beam, tokenizer = task.beam, task.tokenizer
    roles = [tokenizer.origins.get(role) for role in (BOS, UNK)] if has_own_ids(tokenizer) else [PAD, BOS, UNK]
    end = {"forced_eos_token_id": ids["eos_token_id"]} if beam.forced_end else {}
    return {
        **ids, **end, "num_beams": beam.size, "length_penalty": beam.length_penalty,
        "max_length": (beam.max_length or USUAL_LENGTH) + 1,
        "early_stopping": True if beam.early_stopping else "never" if beam.exhaustive else False,
        "renormalize_logits": beam.renormalize, "bad_words_ids": [[i] for i in roles if i is not None],
    }  # fmt: skip


def _tokenizer_files(tokenizer: Tokenizer) -> dict[str, Any]:
    """The files of a tokenizer that puts EOS behind a text, as an encoder reads it."""
    files: dict[str, Any] = dict(for_transformers(tokenizer))
    content, last = json.loads(files[TOKENIZER]), json.loads(files["special_tokens_map.json"])["eos_token"]
    piece = {"SpecialToken": {"id": last, "type_id": 0}}
    one, two = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    content["post_processor"] = {
        "type": "TemplateProcessing", "single": [one, piece], "pair": [one, piece, two, piece],
        "special_tokens": {last: {"id": last, "ids": [EOS], "tokens": [last]}},
    }  # fmt: skip
    return files | {TOKENIZER: json.dumps(content, ensure_ascii=False)}


def _write(folder: Path, files: Mapping[str, Any], weights: dict[str, Tensor]) -> None:
    """All files, or none."""
    if folder.exists():
        raise InputError(f"{str(folder)!r} is there already, and nothing is written over; give a new folder")
    beside = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        for name, content in files.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            if not isinstance(content, bytes | str):
                content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (beside / name).write_bytes(content.encode() if isinstance(content, str) else content)
        save_file(weights, beside / WEIGHTS, {"format": "pt"})
        beside.rename(folder)
    except OSError as error:
        raise InputError(f"cannot make {str(folder)!r}: {error.strerror or error}; give another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
