"""A Translator of two Transformers as a model of CTranslate2, with the same weights."""

from pathlib import Path

import ctranslate2

from seqmodels.batch import BOS, PAD
from seqmodels.interop.ctranslate2 import convert
from seqmodels.tasks import Translator


def converted(model: Translator, folder: Path) -> None:
    """Write a translator of two Transformers into a new folder; tokens are named by their ids."""
    folder.mkdir(parents=True)
    convert.write(model, folder)


def translated(
    translator: ctranslate2.Translator, sources: list[list[int]], size: int, max_length: int = 200
) -> list[list[int]]:
    """The best hypotheses of beam search by a model that `converted` wrote, as token ids without BOS and EOS."""
    found = translator.translate_batch(
        [[str(number) for number in ids] for ids in sources],
        beam_size=size,
        max_batch_size=32,
        max_decoding_length=max_length,
        disable_unk=True,
        suppress_sequences=[[str(PAD)], [str(BOS)]],
    )
    return [[int(token) for token in one.hypotheses[0]] for one in found]
