"""What encoder-decoder families have in common: a `Translator` of two Transformers, and how it searches."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from seqmodels.batch import BOS, UNK
from seqmodels.config import Call, class_path
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.interop.families.family import Family, Heads
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.vocabulary import GENERATION
from seqmodels.nn import Transformer
from seqmodels.tasks import Translator


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

    def task(self, settings: Settings, tokenizer: Tokenizer, **others: Tokenizer) -> Call:
        encoder, decoder = self.networks(settings)
        encoder |= {"causal": False}
        decoder |= {"memory_size": encoder["input_size"]}
        calls = [{"class_path": class_path(Transformer), "init_args": one} for one in (encoder, decoder)]
        arguments = {
            "encoder": calls[0], "decoder": calls[1], "tokenizer": tokenizer, **others, "bidirectional": False,
            "tie_embeddings": self.tied, "head_bias": False, "search": search(settings, tokenizer),
        }  # fmt: skip
        return {"class_path": class_path(Translator), "init_args": arguments}

    def heads(self, task: Translator) -> Heads:
        assert isinstance(task.decoder, Transformer)
        return task.decoder.heads


def search(settings: Settings, tokenizer: Tokenizer) -> dict[str, Any]:
    """Arguments of `Beam` as `generation_config.json` has them, or else the fields of `config.json`.

    Raises:
        InputError: tokens other than the padding and the unknown one are forbidden.
    """
    folder, own = settings.folder, settings
    if folder is not None and (folder / GENERATION).is_file():
        own = Settings(read_json(folder / GENERATION), repr(str(folder / GENERATION)))
    bad, count = own.fields.get("bad_words_ids", []), tokenizer.vocab_size - tokenizer.shift
    never = [tokenizer.origins.get(role) for role in (BOS, UNK)]
    if any(words[1:] or not (words[0] in never or words[0] >= count) for words in bad):
        raise InputError(f"bad_words_ids={bad!r:.60} in {own.where} is not known here; expected that of the padding")
    stopping = own.fields.get("early_stopping", False)
    return {
        "size": own.get("num_beams", 1),
        "length_penalty": own.get("length_penalty", 1.0),
        "max_length": max(1, own.get("max_length", 20) - 1),  # without the token that a decoder begins with
        "early_stopping": stopping is True,
        "exhaustive": stopping == "never",
        "forced_end": own.fields.get("forced_eos_token_id") is not None,
        "renormalize": own.get("renormalize_logits", False),
    }
