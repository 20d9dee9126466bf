"""What was trained here is a folder that transformers loads: logits, ids of texts, and greedy texts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from interop.families.models import CONFIGS, in_double_precision, transformers, written
from interop.families.test_reading import known
from torch.testing import assert_close

from seqmodels import LSTM, InputError, LanguageModel, Sampling, Tokenizer, Transformer, load
from seqmodels.batch import BOS
from seqmodels.interop.families import families
from seqmodels.interop.families.family import Decoder
from seqmodels.interop.families.settings import Settings
from seqmodels.interop.families.write import choose, complete, export_hf
from seqmodels.nn import MLSTM, GatedDeltaNet, Hybrid, Mamba2
from seqmodels.nn.transformer import ResidualStack

TEXT = "the fox ran after the hare"
SMALL: dict[str, Any] = {"input_size": 16, "num_layers": 2, "num_heads": 4, "context": 64}
RMS: dict[str, Any] = {"norm": "rms", "eps": 1e-5}
OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "as it is": ("gpt_neox", {}),
    "GPT": ("gpt2", {"positions": "learned", "activation": "gelu-tanh"}),
    "GPT with biases": ("gpt2", {"positions": "learned", "bias": "all", "feed_forward_size": 20}),
    "OPT": ("opt", {"positions": "learned", "position_offset": 2, "activation": "relu", "bias": "qkv"}),
    "Llama": ("llama", {**RMS, "activation": "swiglu", "num_kv_heads": 2}),
    "Llama with a scale": (
        "llama", {**RMS, "activation": "geglu", "rotary_scaling": {"factor": 2.0}, "bias": "attention"},
    ),
    "a window": ("mistral", {**RMS, "activation": "swiglu", "window": 7}),
    "biases of queries": ("llama", {**RMS, "activation": "swiglu", "bias": "qkv"}),
    "norms of queries": ("qwen3", {**RMS, "activation": "swiglu", "qk_norm": True, "head_size": 6}),
    "side by side": ("gpt_neox", {"residual": "parallel", "rotary_share": 0.5, "bias": "all"}),
}  # fmt: skip


GRIFFIN = {
    "layers": "RGLRU,attention", "num_kv_heads": 1, "context": 9, "norm": "rms-plus-one", "activation": "geglu-tanh",
    "eps": 1e-6, "input_scale": 4.0, "rotary_share": 0.5, "layer_settings": {"RGLRU": {"scale_first": False}},
}  # fmt: skip
DELTA = {
    "layers": "GatedDeltaNet, attention", "num_kv_heads": 2, "context": 64, "norm": "rms-plus-one", "eps": 1e-6,
    "activation": "swiglu", "qk_norm": True, "attention_gate": True,
    "layer_settings": {"GatedDeltaNet": {"groups": 2, "value_size": 6}},
}  # fmt: skip
MEMORIES: dict[str, tuple[type[ResidualStack], dict[str, Any]]] = {
    "mamba2": (Mamba2, {"norm": "rms", "eps": 1e-5, "feed_forward_size": 0, "expand": 2, "groups": 2}),
    "xlstm": (MLSTM, {"norm": "rms", "eps": 1e-6, "activation": "swiglu"}),
    "recurrent_gemma": (Hybrid, GRIFFIN),
    "qwen3_5_text": (Hybrid, DELTA),
}


def lively(model: LanguageModel) -> LanguageModel:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_trained_here(name: str, tie: bool, tmp_path: Path) -> None:
    family, arguments = OWN[name]
    tokenizer = Tokenizer.bpe([TEXT], 270) if tie else Tokenizer.char([TEXT])
    model = lively(LanguageModel(Transformer(**SMALL | arguments), tokenizer, tie_embeddings=tie, head_bias=False))
    said = export_hf(model, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == family
    assert "\n" not in said
    assert ("window" in said) == (arguments.get("positions") != "learned" and family != "mistral")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").double()
    ids = torch.randint(4, tokenizer.vocab_size, (2, 30))
    assert_close(theirs(ids).logits, model.double()(ids)[0], rtol=0, atol=5e-6)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert auto(TEXT).input_ids == [BOS, *tokenizer.encode(TEXT)]
    assert auto.decode(auto(TEXT).input_ids, skip_special_tokens=True) == TEXT
    again = load(tmp_path / "out").double()
    assert_close(again(ids)[0], model(ids)[0], rtol=0, atol=5e-6)
    assert again.tokenizer.encode(TEXT) == tokenizer.encode(TEXT)


@torch.no_grad()
@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("name", MEMORIES)
def test_networks_with_memories(name: str, cap: float | None, tmp_path: Path) -> None:
    """Softly bounded logits or not, embeddings tied or not."""
    network, arguments = MEMORIES[name]
    tokenizer, sizes = Tokenizer.char([TEXT]), {"input_size": 16, "num_heads": 4}
    sizes |= {} if network is Hybrid else {"num_layers": 2}
    settings = {"tie_embeddings": cap is None, "head_bias": False, "logit_cap": cap}
    model = lively(LanguageModel(network(**sizes | arguments), tokenizer, **settings))
    with in_double_precision(name):
        if cap is not None and name in ("mamba2", "qwen3_5_text"):
            with pytest.raises(InputError, match=r"lacks logit_cap=5\.0"):
                export_hf(model, tmp_path / "out")
            return
        export_hf(model, tmp_path / "out")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").double()
        assert theirs.config.model_type == name
        ids = torch.randint(4, tokenizer.vocab_size, (2, 30))
        wanted = theirs(ids, use_cache=False).logits
        assert_close(wanted, model.double()(ids)[0], rtol=0, atol=5e-6)
        auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
        assert auto(TEXT).input_ids == [BOS, *tokenizer.encode(TEXT)]
        again = load(tmp_path / "out").double()
        assert_close(again(ids)[0], model(ids)[0], rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Mamba2(16, 2, norm="rms"), "mamba2, lacks .*feed_forward_size=64, eps=None"),
        (MLSTM(16, 2, 2, norm="rms", eps=1e-6), "xlstm, lacks activation=gelu"),
        (MLSTM(16, 2, 2, convolution=4, norm="rms", eps=1e-6, activation="swiglu"), "lacks convolution=4"),
        (Hybrid(16, "SLSTM,attention"), "has the form of this Hybrid; see docs/families.md"),
        (Hybrid(16, "RGLRU,attention", norm="rms-plus-one", eps=1e-6), r"lacks activation=gelu"),
        (Hybrid(16, **{**DELTA, "layer_settings": {"GatedDeltaNet": {"negative": True}}}), r"lacks .*'negative': True"),
        (GatedDeltaNet(16, 2), "no form for a GatedDeltaNet .* expected .* Transformer, Mamba2, MLSTM, Hybrid"),
    ],
)
def test_memories_that_no_family_can_say(network: ResidualStack, said: str, tmp_path: Path) -> None:
    model = LanguageModel(network, Tokenizer.char([TEXT]), head_bias=False)
    with pytest.raises(InputError, match=said):
        export_hf(model, tmp_path / "out")


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        "gpt2", "llama", "gpt_neox", "opt", "mistral", "qwen3", "mamba2", "xlstm", "recurrent_gemma-biases",
        "qwen3_5_text",
    ],
)  # fmt: skip
def test_there_and_back(name: str, tmp_path: Path) -> None:
    """The same tensors to the bit, but for rows without a token; and the same tokenizer."""
    theirs = written(name, tmp_path / "in", more_rows=3)
    model = load(tmp_path / "in")
    export_hf(model, tmp_path / "out")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    own = dict(back.named_parameters())
    for key, parameter in theirs.named_parameters():
        assert_close(own[key], parameter[: len(own[key])], rtol=0, atol=0)
    first, second = (transformers.AutoTokenizer.from_pretrained(tmp_path / part) for part in ("in", "out"))
    assert first(TEXT).input_ids == second(TEXT).input_ids
    assert (first.eos_token, first.bos_token) == (second.eos_token, second.bos_token)
    ids = torch.tensor([[7, 8, 9]])
    wanted = back(ids - 4).logits
    assert_close(known(model(ids)[0], model, wanted), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_there_and_back(name: str) -> None:
    config = CONFIGS[name]()
    family = families()[config.model_type]
    assert isinstance(family, Decoder)
    arguments = complete(family.network(Settings(config.to_dict(), "")), family.backbone)
    again = family.network(Settings(family.config(arguments), ""))
    assert complete(again, family.backbone) == arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"norm": "rms"}, "activation=gelu"),
        ({"positions": "sinusoidal"}, "positions=sinusoidal"),
        ({"residual": "post-norm"}, "residual=post-norm"),
        ({"input_scale": 4.0}, "input_scale=4.0"),
        ({"num_kv_heads": 2}, "num_kv_heads=2"),
    ],
)
def test_what_no_family_can_say(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = LanguageModel(Transformer(**SMALL | arguments), Tokenizer.char([TEXT]), head_bias=False)
    with pytest.raises(InputError, match=said):
        export_hf(model, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_other_refusals(tmp_path: Path) -> None:
    tokenizer = Tokenizer.char([TEXT])
    with pytest.raises(InputError, match="no form for a LSTM"):
        export_hf(LanguageModel(LSTM(4, 4), tokenizer), tmp_path / "out")
    model = LanguageModel(Transformer(**SMALL), tokenizer)
    assert choose(model)[0].model_type == "gpt_neox"  # a bias of zeros is none
    torch.nn.init.ones_(model.head.bias)
    with pytest.raises(InputError, match="train with head_bias=False"):
        export_hf(model, tmp_path / "out")
    model = LanguageModel(Transformer(**SMALL), tokenizer, head_bias=False)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export_hf(model, tmp_path / "there")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make"):
        export_hf(model, tmp_path / "file" / "out")


def test_a_softmax_layer_without_a_bias_stays_so(tmp_path: Path) -> None:
    model = LanguageModel(Transformer(**SMALL), Tokenizer.char([TEXT]), head_bias=False)
    assert "head.bias" not in {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def test_greedy_text_of_what_was_trained_here(tmp_path: Path) -> None:
    tokenizer = Tokenizer.byte()
    arguments = {"positions": "learned", "context": 128, "bias": "all"}
    model = lively(LanguageModel(Transformer(**SMALL | arguments), tokenizer, head_bias=False))
    export_hf(model, tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").double()
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = auto(TEXT, return_tensors="pt").input_ids
    out = theirs.generate(ids, max_new_tokens=80, do_sample=False, bad_words_ids=[[0], [1], [3]])[0, ids.shape[1] :]
    found = "".join(model.double().generate(TEXT, max_tokens=80, sampling=Sampling(temperature=0)))
    assert found == auto.decode(out, skip_special_tokens=True)
