"""Tiny random encoder-decoders of transformers, written as folders, with SentencePiece models trained on the spot."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import WORDS
from safetensors.torch import load_file, save_file

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

ENGLISH = ["the cat sat on the mat and the dog ran", "a big dog sees a small bird", "where is the next café?", *WORDS]
FRENCH = [
    "le chat était assis sur le tapis",
    "un grand chien voit un petit oiseau",
    "où est le café ?",
    *WORDS.values(),
]
OWN_SEARCH = {"num_beams": 4, "length_penalty": 1.0, "max_length": 24, "renormalize_logits": True}


def trained(texts: list[str], size: int, **settings: Any) -> bytes:
    """A SentencePiece model of these texts."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 4),
        model_writer=made,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return made.getvalue()


def write_marian_tokenizer(folder: Path, separate: bool) -> tuple[int, int]:
    """`source.spm`, `target.spm` and `vocab.json`, which has not all pieces; the numbers of ids on both sides."""
    names = []
    for side, texts in (("source", ENGLISH), ("target", FRENCH)):
        (folder / f"{side}.spm").write_bytes(trained(texts, 70))
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        names.append([model.id_to_piece(i) for i in range(3, len(model)) if i % 13])

    def ids(pieces: list[str]) -> dict[str, int]:
        every = ["</s>", "<unk>", "<pad>", *dict.fromkeys(pieces), ">>fra<<"]
        return {name: number for number, name in enumerate(every)}

    own, other = (ids(names[0]), ids(names[1])) if separate else [ids(names[0] + names[1])] * 2
    (folder / "vocab.json").write_text(json.dumps(own))
    config: dict[str, Any] = {"source_lang": "en", "target_lang": "fr", "tokenizer_class": "MarianTokenizer"}
    if separate:
        (folder / "target_vocab.json").write_text(json.dumps(other))
        config |= {"separate_vocabs": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(own), len(other)


def marian(folder: Path, separate: bool = False, **others: Any) -> Any:
    """A random Marian; its final bias is no zero."""
    folder.mkdir(exist_ok=True)
    size, target_size = write_marian_tokenizer(folder, separate)
    usual = {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20, "max_position_embeddings": 64,
        "scale_embedding": True, "activation_function": "swish",
    }  # fmt: skip
    config = transformers.MarianConfig(
        vocab_size=size, decoder_vocab_size=target_size, pad_token_id=2, eos_token_id=0,
        decoder_start_token_id=2, forced_eos_token_id=0, share_encoder_decoder_embeddings=not separate,
        **usual | others,
    )  # fmt: skip
    model = lively(transformers.MarianMTModel(config))
    model.final_logits_bias = 0.2 * torch.randn_like(model.final_logits_bias)
    for side in (model.model.encoder, model.model.decoder):
        torch.nn.init.zeros_(side.embed_tokens.weight[2])
    return saved(model, folder, bad_words_ids=[[2], [1]], **OWN_SEARCH)


def t5(folder: Path, untied: bool = False, **others: Any) -> Any:
    """A random T5."""
    folder.mkdir(exist_ok=True)
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    (folder / "spiece.model").write_bytes(trained(ENGLISH + FRENCH, 90, **special))
    size = len(sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))) + 100
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    usual = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 4}
    usual |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
    config = transformers.T5Config(vocab_size=size + 4, decoder_start_token_id=0, **usual | others)
    model = lively(transformers.T5ForConditionalGeneration(config))
    saved(model, folder, bad_words_ids=[[i] for i in (0, 2, *range(size, size + 4))], **OWN_SEARCH)
    if untied:
        tensors = load_file(folder / "model.safetensors")
        save_file(
            tensors | {"lm_head.weight": torch.randn(size + 4, 16)}, folder / "model.safetensors", {"format": "pt"}
        )
        changed = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
        changed.pop("scale_decoder_outputs", None)
        (folder / "config.json").write_text(json.dumps(changed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = transformers.T5ForConditionalGeneration.from_pretrained(folder)
    return model.eval()


def lively(model: Any) -> Any:
    """Weights far from those of an untrained model."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        norm = "norm" in name and name.endswith("weight")
        if name.endswith("norm.bias"):
            torch.nn.init.normal_(parameter, std=0.05)
            continue
        table = "shared" in name or "embed_tokens" in name
        torch.nn.init.normal_(parameter, 1.0 if norm else 0.0, 0.2 if norm or table else 0.6)
    return model.eval()


def saved(model: Any, folder: Path, **search: Any) -> Any:
    for name, value in search.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return model


MODELS: dict[str, Callable[[Path], Any]] = {
    "marian": marian,
    "marian-separate": lambda folder: marian(folder, separate=True),
    "marian-gelu": lambda folder: marian(folder, activation_function="gelu", encoder_layers=1, scale_embedding=False),
    "t5": t5,
    "t5-gated": lambda folder: t5(folder, feed_forward_proj="gated-gelu"),
    "t5-untied": lambda folder: t5(
        folder, untied=True, feed_forward_proj="gated-gelu", num_layers=3, num_decoder_layers=2
    ),
}
