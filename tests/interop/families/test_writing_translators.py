"""Translators that were trained here are folders that transformers loads, with equal logits and translations."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from interop.families.translators import ENGLISH, FRENCH, MODELS, transformers
from refusals import assert_refused
from torch.testing import assert_close

from seqmodels import GRU, Beam, Tokenizer, Transformer, Translator, load
from seqmodels.batch import BOS, EOS, Batch
from seqmodels.interop.families.write_translator import choose_translator, export_translator

MARIAN: dict[str, Any] = {"positions": "sinusoidal", "residual": "post-norm", "context": 64, "num_heads": 4}
T5: dict[str, Any] = {
    "positions": "relative", "norm": "rms", "eps": 1e-6, "attention_scale": 1.0, "context": 64, "num_heads": 4,
}  # fmt: skip
SEARCH = {"size": 3, "max_length": 12, "length_penalty": 0.6}


def translator(
    arguments: dict[str, Any], tied: str = "all", separate: bool = False, deeper: int = 0, **others: Any
) -> Translator:
    torch.manual_seed(0)
    both = Tokenizer.char(ENGLISH + FRENCH)
    networks = Transformer(16, 2, causal=False, **arguments), Transformer(16, 2 + deeper, memory_size=16, **arguments)
    task = Translator(
        *networks, both, Tokenizer.char(ENGLISH) if separate else None, bidirectional=False, tie_embeddings=tied,  # type: ignore[arg-type]
        search=SEARCH, **others,
    )  # fmt: skip
    for name, parameter in task.named_parameters():
        norm = "norm" in name and name.endswith("weight")
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, 1.0 if norm else 0.0, 0.2 if norm or "bias" in name else 0.5)
    return task.eval()


OWN: dict[str, tuple[str, Any]] = {
    "marian": ("marian", lambda: translator(MARIAN | {"bias": "all"})),
    "marian, two vocabularies": ("marian", lambda: translator(MARIAN | {"bias": "all"}, "target", separate=True)),
    "marian, no biases, scaled": ("marian", lambda: translator(MARIAN | {"input_scale": 4.0, "activation": "silu"})),
    "t5": ("t5", lambda: translator(T5 | {"activation": "relu"}, head_bias=False)),
    "t5, gated, a deeper decoder": (
        "t5",
        lambda: translator(T5 | {"activation": "geglu-tanh", "head_size": 6}, deeper=1, head_bias=False),
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", OWN)
def test_trained_here(name: str, tmp_path: Path) -> None:
    family, make = OWN[name]
    task, folder = make(), tmp_path / "out"
    said = export_translator(task, folder)
    assert "\n" not in said
    assert ("window of 64 positions" in said) == (family == "t5")
    assert json.loads((folder / "config.json").read_text())["model_type"] == family
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    texts = ["the cat sat", "where is the dog"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    for row, mask, text in zip(encoded.input_ids, encoded.attention_mask.bool(), texts, strict=True):
        assert row[mask].tolist() == [*task.source_tokenizer.encode(text), EOS]
    ids = torch.randint(4, task.tokenizer.vocab_size, (2, 9))
    ids[:, 0] = BOS
    batch = Batch(ids, ids, source=encoded.input_ids, source_mask=encoded.attention_mask.bool())
    wanted = task(batch)[0]
    found = theirs(encoded.input_ids, attention_mask=encoded.attention_mask, decoder_input_ids=ids).logits
    assert_close(found, wanted, rtol=0, atol=2e-5)
    inside = folder / "target_tokenizer"
    writer = transformers.AutoTokenizer.from_pretrained(inside) if inside.is_dir() else tokenizer
    written = writer.batch_decode(theirs.generate(**encoded), skip_special_tokens=True)
    assert [one[0].text for one in task.translate(texts)] == written
    again = load(folder)
    assert isinstance(again, Translator)
    assert_close(again(batch)[0], wanted, rtol=0, atol=1e-5)
    assert again.translate(texts) == task.translate(texts) or again.beam == Beam(**SEARCH)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["marian-separate", "t5", *(pytest.param(one, marks=pytest.mark.slow) for one in ("marian", "t5-untied"))]
)
def test_loaded_and_written(name: str, tmp_path: Path) -> None:
    """A model of transformers comes back as it was, with tokenizers that give the same ids and texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODELS[name](tmp_path / "in")
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "in").eval()
        export_translator(ours := load(tmp_path / "in"), tmp_path / "out")  # type: ignore[arg-type]
        before, after = (transformers.AutoTokenizer.from_pretrained(tmp_path / one) for one in ("in", "out"))
    texts = [*ENGLISH, *FRENCH, "two  spaces", "½ ﬁne ①", "漢字 q", ">>fra<< the dog", ""]
    assert after(texts).input_ids == before(texts).input_ids
    assert after(text_target=texts).input_ids == before(text_target=texts).input_ids
    assert load(tmp_path / "out").source_tokenizer.encode_batch(texts) == ours.source_tokenizer.encode_batch(texts)  # type: ignore[union-attr,operator]
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    count = min(len(again.get_input_embeddings().weight), theirs.config.vocab_size)
    count = min(count, theirs.config.to_dict().get("decoder_vocab_size") or count)
    ids = torch.randint(3, count, (2, 7))
    wanted, found = (one(ids, decoder_input_ids=ids).logits for one in (theirs, again))
    encoded = before(texts[:3], padding=True, return_tensors="pt")
    written = [after.batch_decode(one.generate(**encoded), skip_special_tokens=True) for one in (theirs, again)]
    assert written[0] == written[1] == [best[0].text for best in ours.translate(texts[:3])]  # type: ignore[union-attr,operator]
    assert_close(found, wanted[..., : found.shape[-1]], rtol=0, atol=5e-5)
    for field in ("num_beams", "max_length", "length_penalty", "renormalize_logits", "forced_eos_token_id"):
        assert getattr(again.generation_config, field) == getattr(theirs.generation_config, field), field


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: translator(T5 | {"positions": "rotary"}), "encoder with positions=rotary"),
        (
            lambda: translator(MARIAN | {"residual": "pre-norm"}),
            "the nearest, marian, lacks encoder with residual=pre-norm",
        ),
        (lambda: translator(T5 | {"activation": "relu"}), "the nearest, t5, lacks a bias of the softmax layer"),
        (lambda: translator(MARIAN, "none"), "lacks a softmax layer apart from the target embedding"),
        (lambda: Translator(GRU(8, 8), GRU(8, 8), Tokenizer.byte()), "has no form for Bidirectional and Attentive"),
    ],
)
def test_what_no_family_can_say(make: Any, message: str, tmp_path: Path) -> None:
    assert_refused(message, export_translator, make(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    task = translator(MARIAN | {"bias": "all"})
    assert choose_translator(task)[0].model_type == "marian"
    assert_refused("is there already", export_translator, task, tmp_path)
