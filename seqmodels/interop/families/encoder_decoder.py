"""What encoder-decoder families have in common: a `Translator` of two Transformers, and how it searches."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmodels.batch import BOS, PAD, UNK
from seqmodels.config import Call, class_path
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS
from seqmodels.errors import InputError
from seqmodels.files import parse_json, read_json, read_small
from seqmodels.interop.families.family import Family, Heads
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.vocabulary import GENERATION, read_tokenizer
from seqmodels.interop.sentencepiece import as_tokenizer, read_pieces
from seqmodels.nn import Transformer
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

START, END, UNKNOWN = "<pad>", "</s>", "<unk>"
"""Special tokens of these families; a decoder begins with the padding."""
TARGET = "target_tokenizer"
"""The folder of the target's tokenizer in a folder of ours, where the two differ."""


class EncoderDecoder(Family):
    """A family of translators: a subclass has a table of names and says what encoder and decoder are."""

    tied = "all"
    """Which matrices of the `Translator` are one."""

    @abstractmethod
    def networks(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of the `Transformer` that is the encoder, and of the decoder, without those of every such pair."""

    @abstractmethod
    def config(self, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse of `networks`, of all arguments."""

    @abstractmethod
    def tying(self, task: EncoderDecoderModel) -> dict[str, Any]:
        """Settings that say which matrices of a translator are one."""

    @abstractmethod
    def lacks(self, task: EncoderDecoderModel) -> list[str]:
        """What a translator has, beside its networks, that the family cannot say."""

    def task(self, settings: Settings, tokenizer: Tokenizer, **others: Tokenizer) -> Call:
        encoder, decoder = self.networks(settings)
        encoder |= {"causal": False}
        decoder |= {"memory_size": encoder["input_size"]}
        calls = [{"class_path": class_path(Transformer), "init_args": one} for one in (encoder, decoder)]
        arguments = {
            "encoder": calls[0], "decoder": calls[1], "tokenizer": tokenizer, **others, "bidirectional": False,
            "tie_embeddings": self.tied, "head_bias": False, "search": search(settings, tokenizer),
        }  # fmt: skip
        return {"class_path": class_path(EncoderDecoderModel), "init_args": arguments}

    def heads(self, task: EncoderDecoderModel) -> Heads:
        assert isinstance(task.decoder, Transformer)
        return task.decoder.heads


def exported_tokenizers(folder: Path, settings: Settings) -> dict[str, Tokenizer]:
    """Those of a translator that was trained here, with one of the target's own where there is its folder."""
    source = read_tokenizer(folder, settings)
    if not (folder / TARGET).is_dir():
        return {"tokenizer": source}
    return {"tokenizer": read_tokenizer(folder / TARGET, settings), "source_tokenizer": source}


def with_ids_of(model: Path, vocabulary: Path) -> Tokenizer:
    """A tokenizer of the pieces of a SentencePiece model with the ids of a vocabulary.

    Raises:
        InputError: there are no such files, or the vocabulary lacks a special token.
    """
    ids = parse_json(read_small(vocabulary, TOKENIZER_CHARACTERS), repr(str(vocabulary)))
    known = isinstance(ids, dict) and all(type(number) is int for number in ids.values())
    if not known or not {START, END, UNKNOWN} <= ids.keys():
        raise InputError(f"{str(vocabulary)!r} has no ids of {START}, {END} and {UNKNOWN}; expected tokens and ids")
    json, size = as_tokenizer(read_pieces(model), ids, ids[UNKNOWN], keep=(START, END, UNKNOWN))
    return Tokenizer(json, START, END, size)


def with_extra_ids(model: Path) -> Tokenizer:
    """A tokenizer of the pieces of a SentencePiece model with its ids, and the 100 further tokens of T5."""
    pieces, extra = read_pieces(model), [f"<extra_id_{number}>" for number in reversed(range(100))]
    ids = {name: number for number, name in enumerate([*pieces.names, *extra])}
    json, size = as_tokenizer(pieces, ids, pieces.unknown, keep=(START, END, UNKNOWN, *extra))
    return Tokenizer(json, START, END, size)


def search(settings: Settings, tokenizer: Tokenizer) -> dict[str, Any]:
    """Arguments of `Beam` as `generation_config.json` has them, or else the fields of `config.json`.

    Raises:
        InputError: tokens other than the padding and the unknown one are forbidden, or several end a text.
    """
    folder, own = settings.folder, settings
    if folder is not None and (folder / GENERATION).is_file():
        own = Settings(read_json(folder / GENERATION), repr(str(folder / GENERATION)))
    for one in (own, settings):
        if isinstance(ends := one.fields.get("eos_token_id"), list) and len(set(ends)) > 1:
            raise InputError(f"eos_token_id={ends!r:.60} in {one.where} is not known for translators; expected one")
    bad, count = own.fields.get("bad_words_ids", []), tokenizer.vocab_size - tokenizer.shift
    never = [tokenizer.origins.get(role) for role in (BOS, UNK)] if tokenizer.shift else [PAD, BOS, UNK]
    if any(words[1:] or not (words[0] in never or words[0] >= count) for words in bad):
        raise InputError(f"bad_words_ids={bad!r:.60} in {own.where} is not known here; expected that of the padding")
    longest = own.size_or_none("max_length")
    stopping = own.fields.get("early_stopping", False)
    return {
        "size": own.get("num_beams", 1),
        "length_penalty": own.get("length_penalty", 1.0),
        "max_length": longest and max(1, longest - 1),  # without the token that a decoder begins with
        "early_stopping": stopping is True,
        "exhaustive": stopping == "never",
        "forced_end": own.fields.get("forced_eos_token_id") is not None,
        "renormalize": own.get("renormalize_logits", False),
    }
