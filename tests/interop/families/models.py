"""Tiny random models of transformers, written as folders, and their tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

transformers = pytest.importorskip("transformers")

TEXTS = ["the fox ran after the hare and the cat sat on the mat, café 漢字"] * 5
END, START, UNKNOWN = "<|endoftext|>", "<s>", "<unk>"


def tokenizer(specials: list[str], template: str | None = None) -> tokenizers.Tokenizer:
    """Byte-level BPE with these tokens first, and one of them in front of a text if there is a template for it."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    if template is not None:
        number = made.token_to_id(template)
        made.post_processor = processors.TemplateProcessing(f"{template} $A", None, [(template, number)])
    return made


def gpt2(**others: Any) -> Any:
    usual = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    return transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **usual | others)


CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2,
    "gpt2-other-settings": lambda: gpt2(
        activation_function="relu", n_inner=50, layer_norm_epsilon=0.01, scale_attn_weights=False,
        tie_word_embeddings=False,
    ),
}  # fmt: skip
"""A configuration without a vocabulary, by the family and what is special."""
STARTED = ("llama", "mistral", "opt")
"""Families whose tokenizers put a token in front of a text."""


def written(name: str, folder: Path, more_rows: int = 0, **settings: Any) -> Any:
    """A lively random model in single precision; it and its tokenizer are written to a folder."""
    family = name.partition("-")[0]
    own = tokenizer([START, END, UNKNOWN], START) if family in STARTED else tokenizer([END])
    config = CONFIGS[name]()
    config.vocab_size = own.get_vocab_size() + more_rows
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    model.generation_config.pad_token_id = config.eos_token_id
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, **settings)
    names = {"bos_token": START, "eos_token": END} if family in STARTED else {"bos_token": END, "eos_token": END}
    transformers.PreTrainedTokenizerFast(tokenizer_object=own, **names).save_pretrained(folder)
    return model


def changed(folder: Path, **fields: Any) -> None:
    """Change fields of `config.json`; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
