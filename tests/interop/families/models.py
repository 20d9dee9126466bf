"""Tiny random models of transformers, written as folders, and their tokenizer."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
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


class Doubles:
    """Torch with double precision in the place of single precision, for code that asks for the latter by name."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


RECURRENT = {
    "mamba2": "mamba2",
    "xlstm": "xlstm",
    "recurrent_gemma": "recurrent_gemma",
    "qwen3_5_text": "qwen3_5",
    "qwen3_next": "qwen3_next",
}
"""Families with recurrent layers, and the folder of each in transformers."""


@contextmanager
def in_double_precision(family: str) -> Iterator[None]:
    """Recurrent layers of transformers are in single precision whatever their weights are; here they are not."""
    if family not in RECURRENT:
        yield
        return
    modeling = import_module(f"transformers.models.{RECURRENT[family]}.modeling_{RECURRENT[family]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling, "torch", Doubles())
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        if family == "recurrent_gemma":
            patch.setattr(modeling.RecurrentGemmaRglru._rnn_scan, "__defaults__", (torch.float64,))
        if family == "xlstm":  # the initialisation of fused weights fails in transformers 5.24
            patch.setattr(modeling.xLSTMPreTrainedModel, "_init_weights", lambda self, module: None)
        yield


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1}
SAME: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
GROUPED = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 48}


def gpt2(**others: Any) -> Any:
    usual = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    return transformers.GPT2Config(**SAME, **usual | others)


CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": gpt2,
    "gpt2-other-settings": lambda: gpt2(
        activation_function="relu", n_inner=50, layer_norm_epsilon=0.01, scale_attn_weights=False,
        tie_word_embeddings=False,
    ),
    "llama": lambda: transformers.LlamaConfig(**GROUPED, **ENDS),
    "llama-tied-scaled": lambda: transformers.LlamaConfig(
        **GROUPED, **ENDS, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, hidden_act="gelu_new",
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "llama-linear": lambda: transformers.LlamaConfig(
        **GROUPED, **ENDS, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}
    ),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, **ENDS, sliding_window=9),
    "mistral-no-window": lambda: transformers.MistralConfig(**GROUPED, **ENDS, sliding_window=None, head_dim=10),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED, **SAME, tie_word_embeddings=True),
    "qwen2-window": lambda: transformers.Qwen2Config(
        **GROUPED, **SAME, use_sliding_window=True, sliding_window=8, max_window_layers=0
    ),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, **SAME, head_dim=12),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SIZES, **SAME, intermediate_size=50),
    "gpt_neox-one-after-the-other": lambda: transformers.GPTNeoXConfig(
        **SIZES, **SAME, intermediate_size=50, use_parallel_residual=False, tie_word_embeddings=True, rotary_pct=0.5
    ),
    "mamba2": lambda: transformers.Mamba2Config(
        **SAME, hidden_size=32, num_hidden_layers=2, num_heads=4, head_dim=16, state_size=6, n_groups=2, chunk_size=8,
        residual_in_fp32=False,
    ),
    "xlstm": lambda: transformers.xLSTMConfig(**SAME, hidden_size=128, num_hidden_layers=2, num_heads=2, chunk_size=8),
    "xlstm-fused": lambda: transformers.xLSTMConfig(
        **SAME, hidden_size=128, num_hidden_layers=2, num_heads=4, chunk_size=8,
        weight_mode="fused", ffn_proj_factor=1.3, output_logit_soft_cap=2.0, tie_word_embeddings=True,
    ),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **ENDS, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1, intermediate_size=96,
        attention_window_size=9,
    ),
    "recurrent_gemma-biases": lambda: transformers.RecurrentGemmaConfig(
        **ENDS, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, attention_bias=True,
        block_types=["attention", "recurrent"], logits_soft_cap=3.0, conv1d_width=3,
    ),
    "qwen3_5_text": lambda: transformers.Qwen3_5TextConfig(
        **GROUPED, **SAME, head_dim=16, linear_key_head_dim=6, linear_value_head_dim=10, linear_num_key_heads=2,
        linear_num_value_heads=4, layer_types=["linear_attention", "full_attention"],
    ),
    "qwen3_next": lambda: transformers.Qwen3NextConfig(
        **GROUPED, **SAME, head_dim=16, linear_key_head_dim=6, linear_value_head_dim=10, linear_num_key_heads=2,
        linear_num_value_heads=4, full_attention_interval=2, num_experts=0, tie_word_embeddings=True,
    ),
    "opt": lambda: transformers.OPTConfig(**SIZES, **ENDS, ffn_dim=50, word_embed_proj_dim=32, pad_token_id=1),
    "opt-narrow": lambda: transformers.OPTConfig(
        **SIZES, **ENDS, ffn_dim=50, word_embed_proj_dim=12, do_layer_norm_before=False, pad_token_id=1
    ),
}  # fmt: skip
"""A configuration without a vocabulary, by the family and what is special."""
STARTED = ("llama", "mistral", "opt", "recurrent_gemma")
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
    if family == "opt":
        model.model.decoder.embed_positions.weight.data[:2] = 9.0  # nobody reads them
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
