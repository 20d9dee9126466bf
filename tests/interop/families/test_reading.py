"""Models of public families give the logits and the texts of transformers, in double precision."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from interop.families.models import CONFIGS, STARTED, in_double_precision, transformers, written
from torch import Tensor
from torch.testing import assert_close

from seqmodels import LanguageModel, Sampling, load
from seqmodels.batch import BOS, EOS, PAD, Batch
from seqmodels.interop.families import KNOWN

LEAKY = ("xlstm", "recurrent_gemma")
"""Families whose recurrent layers read padding in transformers: their rows are read one by one there."""
Pair = tuple[Any, LanguageModel, Any]


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A model of transformers, ours, and the tokenizer of transformers."""
    folder = tmp_path_factory.mktemp(request.param)
    with in_double_precision(request.param.partition("-")[0]):
        theirs = written(request.param, folder, more_rows=5)
        ours = load(folder)
        assert isinstance(ours, LanguageModel)
        yield theirs.double(), ours.double(), transformers.AutoTokenizer.from_pretrained(folder)


def known(logits: Tensor, ours: LanguageModel, rows: Tensor) -> Tensor:
    """Our logits of their tokens, in their order."""
    places = torch.arange(rows.shape[-1]) + 4
    for i, role in ours.tokenizer.roles.items():
        places[i] = role
    return logits[..., places]


def same(ours: LanguageModel, found: Tensor, wanted: Tensor) -> None:
    count = ours.tokenizer.vocab_size - 4
    assert_close(known(found, ours, wanted[..., :count]), wanted[..., :count], rtol=0, atol=1e-6)


def inner(ours: LanguageModel, ids: Tensor) -> Tensor:
    """Their ids, of ours."""
    table = {4 + i: i for i in range(ours.tokenizer.vocab_size - 4)} | {
        role: i for i, role in ours.tokenizer.roles.items()
    }
    start = ours.tokenizer.origins[BOS]
    return torch.tensor([[table.get(int(i), start) for i in row] for row in ids])


def test_every_family_is_tried() -> None:
    assert {name.partition("-")[0] for name in CONFIGS} >= set(KNOWN) - {"marian", "t5", "rwkv7"}


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 7, 40])
def test_whole_windows(pair: Pair, length: int) -> None:
    theirs, ours, _ = pair
    ids = torch.randint(5, ours.tokenizer.vocab_size, (3, length))
    ids[0, 0] = BOS
    same(ours, ours(ids)[0], theirs(inner(ours, ids)).logits)


@torch.no_grad()
def test_padded_rows(pair: Pair) -> None:
    theirs, ours, _ = pair
    ids = torch.randint(5, ours.tokenizer.vocab_size, (3, 12))
    mask = torch.arange(12) >= torch.tensor([[0], [5], [9]])
    found = ours(Batch(ids.masked_fill(~mask, PAD), ids, mask))[0]
    if theirs.config.model_type in LEAKY:
        for row, real, own in zip(ids, mask, found, strict=True):
            same(ours, own[real][None], theirs(inner(ours, row[real][None])).logits)
        return
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    more = {} if theirs.config.model_type == "opt" else {"position_ids": positions}
    wanted = theirs(inner(ours, ids), attention_mask=mask.long(), **more).logits
    same(ours, found[mask], wanted[mask])


@torch.no_grad()
@pytest.mark.parametrize("piece", [1, 2, 7])
def test_over_the_cache(pair: Pair, piece: int) -> None:
    theirs, ours, _ = pair
    ids = torch.randint(5, ours.tokenizer.vocab_size, (2, 28))
    wanted, state, found = theirs(inner(ours, ids)).logits, None, []
    for part in ids.split(piece, 1):
        logits, state = ours(part, state)
        found.append(logits)
    same(ours, torch.cat(found, 1), wanted)


@torch.no_grad()
def test_greedy_texts(pair: Pair) -> None:
    """Of 200 tokens, whole as far as a token's bytes are text; and prompts have the same ids."""
    theirs, ours, tokenizer = pair
    prompt = "the fox ran café"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    own = ours.tokenizer.encode(prompt)
    assert inner(ours, torch.tensor([[BOS, *own] if ours.tokenizer.starts else own])).tolist() == ids.tolist()
    assert ours.tokenizer.starts == (theirs.config.model_type in STARTED)
    bad = [[i] for i in range(len(tokenizer), theirs.config.vocab_size)]
    if ours.tokenizer.origins[BOS] != ours.tokenizer.origins[EOS]:
        bad.append([ours.tokenizer.origins[BOS]])  # a text that has begun is not begun again
    out = theirs.generate(ids, max_new_tokens=200, do_sample=False, bad_words_ids=bad or None)[0, ids.shape[1] :]
    wanted = tokenizer.decode(out, skip_special_tokens=True)
    found = "".join(ours.generate(prompt, max_tokens=200, sampling=Sampling(temperature=0)))
    assert found == wanted
    assert len(out) > 50 or int(out[-1]) == theirs.config.eos_token_id
