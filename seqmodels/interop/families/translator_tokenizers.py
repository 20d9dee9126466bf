"""The tokenizers of a translator that was loaded from a public family, as files of that family again."""

from typing import Any

from seqmodels.batch import EOS
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.interop.families.encoder_decoder import END, START, TARGET, UNKNOWN, EncoderDecoder
from seqmodels.interop.families.vocabulary import TOKENIZER, TOKENIZER_CONFIG
from seqmodels.interop.sentencepiece import as_model, vocabulary
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

EXTRA = 100
"""Tokens of T5 that its SentencePiece model lacks."""


def has_own_ids(tokenizer: Tokenizer) -> bool:
    """Whether the rows of exported tables are in the order of the tokenizer's own ids."""
    return EOS in tokenizer.origins


def original_files(task: EncoderDecoderModel, family: EncoderDecoder) -> dict[str, Any]:
    """The files of tokenizers with ids of their own, by name: SentencePiece models where they came from such.

    Raises:
        InputError: a tokenizer came from a model with other files than this family has.
    """
    target, source = task.tokenizer, task.source_tokenizer
    sizes = [one.constructor_call["init_args"]["size"] for one in (target, source)]
    if family.model_type == "marian" and None not in sizes:
        return _marian(source, target)
    if family.model_type == "t5" and None not in sizes and source.json == target.json:
        model = as_model(target.json, sizes[0], sizes[0] - EXTRA)
        return {"spiece.model": model, TOKENIZER_CONFIG: {"tokenizer_class": "T5Tokenizer", "extra_ids": EXTRA}}
    if sizes != [None, None]:
        raise InputError(
            f"a tokenizer of this translator is a SentencePiece model with ids of its own, which {family.model_type} "
            "has no file for; translate with this package, or export to ctranslate2"
        )
    files = _json_files(source)
    if source.json != target.json:
        files |= {f"{TARGET}/{name}": content for name, content in _json_files(target).items()}
    return files


def _marian(source: Tokenizer, target: Tokenizer) -> dict[str, Any]:
    tables, found = [], dict[str, Any]()
    for side, one in (("source", source), ("target", target)):
        size = one.constructor_call["init_args"]["size"]
        found[f"{side}.spm"] = as_model(one.json, size)
        tables.append(vocabulary(one.json, size))
    found["vocab.json"] = tables[0]
    config: dict[str, Any] = {"tokenizer_class": "MarianTokenizer", "source_lang": None, "target_lang": None}
    if tables[0] != tables[1]:
        found["target_vocab.json"] = tables[1]
        config["separate_vocabs"] = True
    return found | {TOKENIZER_CONFIG: config}


def _json_files(tokenizer: Tokenizer) -> dict[str, Any]:
    names = {"pad_token": START, "eos_token": END, "unk_token": UNKNOWN}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "clean_up_tokenization_spaces": False}
    return {TOKENIZER: tokenizer.json, TOKENIZER_CONFIG: config}
