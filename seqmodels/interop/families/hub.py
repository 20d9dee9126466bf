"""Models of public families on the Hugging Face hub: their files, and no others, into its cache."""

from pathlib import Path

from seqmodels.data.hub import HubName, download
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS
from seqmodels.errors import InputError
from seqmodels.files import SMALL, read_json
from seqmodels.interop.families.read import CONFIG, family_of
from seqmodels.interop.families.shards import INDEX, INDEX_BYTES, WEIGHTS, named_shards
from seqmodels.interop.families.vocabulary import GENERATION, MERGES, TOKENIZER, TOKENIZER_CONFIG, VOCAB

PIECES = ("source.spm", "target.spm", "target_vocab.json", "spiece.model", "rwkv_vocab_v20230424.txt")
"""Files of SentencePiece, and of RWKV."""


def download_family(name: HubName, folder: Path, most: int) -> Path:
    """Download a model whose settings are in a folder already; `most` is of the bytes of a file of weights.

    Nothing is downloaded of a family that is not known here.

    Raises:
        InputError: its family is not known, it has no safetensors, or the hub cannot be reached.
    """
    family_of(read_json(folder / CONFIG), f"{str(name)!r} on the hub")
    texts = dict.fromkeys((TOKENIZER, VOCAB, MERGES, *PIECES), TOKENIZER_CHARACTERS)
    small = dict.fromkeys((TOKENIZER_CONFIG, GENERATION), SMALL)
    folder = download(name, {CONFIG: SMALL}, texts | small | {WEIGHTS: most, INDEX: INDEX_BYTES})
    if (folder / WEIGHTS).is_file():
        return folder
    if not (folder / INDEX).is_file():
        raise InputError(
            f"{str(name)!r} on the hub has no {WEIGHTS}; pickled weights are not read, as they can run code"
        )
    shards = named_shards(read_json(folder / INDEX, INDEX_BYTES), str(folder / INDEX))
    return download(name, dict.fromkeys(shards, most))
