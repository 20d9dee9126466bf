"""transformers reads the tokenizer of a shared model and gives the same ids as we do."""

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints.test_export import TEXT, saved
from data.test_tokenizers_of_others import KINDS
from networks import NETWORKS

from seqmodels import LanguageModel, Tokenizer, Transformer, load, share
from seqmodels.batch import BOS, EOS, PAD, UNK

SENTENCES = [
    "the cat sat\n on <eos> the  mat <unk> <pad>", "a Ж and 漢字 é", "", "<bos>the house, don't stop.",
    "<unused> <unk_>", "Ein Zug fährt 火车 house\n\n", " train",
]  # fmt: skip
OWN = {
    "char": lambda: Tokenizer.char([SENTENCES[0]]),
    "byte": Tokenizer.byte,
    "bpe": lambda: Tokenizer.bpe(SENTENCES * 3, 300),
    "word": lambda: Tokenizer.word(SENTENCES),
}
FOREIGN = {make.__name__: make for make in KINDS}


@pytest.fixture
def auto(monkeypatch: pytest.MonkeyPatch) -> Any:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return transformers.AutoTokenizer


@pytest.mark.parametrize("name", [*OWN, *FOREIGN])
def test_auto_tokenizer_gives_our_ids(name: str, tmp_path: Path, auto: Any) -> None:
    tokenizer = OWN[name]() if name in OWN else Tokenizer(FOREIGN[name]().to_str())
    task = LanguageModel(NETWORKS["GRU"](), tokenizer)
    folder = share(saved(task, tmp_path / "model.safetensors"), tmp_path / "shared")
    theirs = auto.from_pretrained(folder)
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id) == (PAD, BOS, EOS, UNK)
    for text in SENTENCES:
        assert theirs(text).input_ids == tokenizer.encode(text), text
    padded = theirs(SENTENCES, padding=True).input_ids
    assert [row + [PAD] * (len(padded[0]) - len(row)) for row in map(tokenizer.encode, SENTENCES)] == padded
    assert load(folder).tokenizer.json == tokenizer.json


def test_the_longest_text_is_that_of_the_network(tmp_path: Path, auto: Any) -> None:
    task = LanguageModel(Transformer(8, 1, 2, positions="learned", context=7), TEXT)
    folder = share(saved(task, tmp_path / "model.safetensors"), tmp_path / "shared")
    assert auto.from_pretrained(folder).model_max_length == 7


def test_of_one_that_is_ours_there_is_one_file(tmp_path: Path) -> None:
    folder = share(saved(LanguageModel(NETWORKS["GRU"](), TEXT), tmp_path / "a.safetensors"), tmp_path / "own")
    assert (folder / "tokenizer.json").read_text() == TEXT.json
    assert not (folder / "original_tokenizer.json").exists()
    names = json.loads((folder / "special_tokens_map.json").read_text())
    assert names == {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
