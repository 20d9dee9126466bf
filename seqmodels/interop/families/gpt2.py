"""GPT-2 (Radford et al. 2019) in all sizes, and DistilGPT2."""

from collections.abc import Mapping
from typing import Any, ClassVar

from seqmodels.interop.families.family import Decoder, Rows, Transposed, Weight
from seqmodels.interop.families.settings import PLAIN, THEIRS, Settings


class GPT2(Decoder):
    """Layer norm, learned positions, biases; matrices are stored (in, out)."""

    model_type = "gpt2"
    architecture = "GPT2LMHeadModel"
    prefix = "transformer."
    unused = (r"h\.\d+\.attn\.(masked_)?bias",)
    tied = True
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("wte.weight"),
        "backbone.position.weight": Weight("wpe.weight"),
        "backbone.blocks.{}.norm_mixer.weight": Weight("h.{}.ln_1.weight"),
        "backbone.blocks.{}.norm_mixer.bias": Weight("h.{}.ln_1.bias"),
        "backbone.blocks.{}.mixer.project.weight": Transposed("h.{}.attn.c_attn.weight"),
        "backbone.blocks.{}.mixer.project.bias": Weight("h.{}.attn.c_attn.bias"),
        "backbone.blocks.{}.mixer.out.weight": Transposed("h.{}.attn.c_proj.weight"),
        "backbone.blocks.{}.mixer.out.bias": Weight("h.{}.attn.c_proj.bias"),
        "backbone.blocks.{}.norm_feed_forward.weight": Weight("h.{}.ln_2.weight"),
        "backbone.blocks.{}.norm_feed_forward.bias": Weight("h.{}.ln_2.bias"),
        "backbone.blocks.{}.feed_forward.up.weight": Transposed("h.{}.mlp.c_fc.weight"),
        "backbone.blocks.{}.feed_forward.up.bias": Weight("h.{}.mlp.c_fc.bias"),
        "backbone.blocks.{}.feed_forward.out.weight": Transposed("h.{}.mlp.c_proj.weight"),
        "backbone.blocks.{}.feed_forward.out.bias": Weight("h.{}.mlp.c_proj.bias"),
        "backbone.norm.weight": Weight("ln_f.weight"),
        "backbone.norm.bias": Weight("ln_f.bias"),
        "head.weight": Rows("lm_head.weight"),
    }

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
        return {
            "input_size": settings.size("n_embd"),
            "num_layers": settings.size("n_layer"),
            "num_heads": settings.size("n_head"),
            "context": settings.size("n_positions"),
            "positions": "learned",
            "norm": "layer",
            "activation": settings.choice("activation_function", PLAIN, "gelu_new"),
            "dropout": settings.get("resid_pdrop", 0.1),
            "bias": "all",
            "feed_forward_size": settings.size_or_none("n_inner"),
            "eps": settings.get("layer_norm_epsilon", 1e-5),
            "attention_scale": None if settings.get("scale_attn_weights", True) else 1.0,
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "n_embd": arguments["input_size"],
            "n_layer": arguments["num_layers"],
            "n_head": arguments["num_heads"],
            "n_positions": arguments["context"],
            "activation_function": THEIRS[arguments["activation"]],
            "resid_pdrop": arguments["dropout"],
            "embd_pdrop": arguments["dropout"],
            "attn_pdrop": 0.0,
            "n_inner": arguments["feed_forward_size"],
            "layer_norm_epsilon": arguments["eps"],
            "scale_attn_weights": arguments["attention_scale"] != 1.0,
        }


FAMILY = GPT2()
