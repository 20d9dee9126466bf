"""GPT-NeoX (Black et al. 2022), the family of Pythia."""

from collections.abc import Mapping
from typing import Any, ClassVar

from seqmodels.interop.families.family import ByHead, Decoder, Rows, Weight
from seqmodels.interop.families.settings import PLAIN, THEIRS, Settings, rope_parameters, rotary


class GPTNeoX(Decoder):
    """Layer norm, rotary positions on a share of each head, branches side by side."""

    model_type = "gpt_neox"
    architecture = "GPTNeoXForCausalLM"
    prefix = "gpt_neox."
    outside = ("embed_out.weight",)
    unused = (r"layers\.\d+\.attention\.(masked_bias|bias|rotary_emb\.inv_freq)",)
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embed_in.weight"),
        **{
            f"backbone.blocks.{{}}.{ours}.{kind}": weight(f"layers.{{}}.{theirs}.{kind}")
            for ours, weight, theirs in (
                ("norm_mixer", Weight, "input_layernorm"),
                ("mixer.project", ByHead, "attention.query_key_value"),
                ("mixer.out", Weight, "attention.dense"),
                ("norm_feed_forward", Weight, "post_attention_layernorm"),
                ("feed_forward.up", Weight, "mlp.dense_h_to_4h"),
                ("feed_forward.out", Weight, "mlp.dense_4h_to_h"),
            )
            for kind in ("weight", "bias")
        },
        "backbone.norm.weight": Weight("final_layer_norm.weight"),
        "backbone.norm.bias": Weight("final_layer_norm.bias"),
        "head.weight": Rows("embed_out.weight"),
    }

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(attention_bias=True)
        side_by_side = settings.get("use_parallel_residual", True)
        return {
            "input_size": settings.size("hidden_size"),
            "num_layers": settings.size("num_hidden_layers"),
            "num_heads": settings.size("num_attention_heads"),
            "context": settings.size("max_position_embeddings"),
            "positions": "rotary",
            "norm": "layer",
            "activation": settings.choice("hidden_act", PLAIN, "gelu"),
            "dropout": settings.get("hidden_dropout", 0.0),
            "residual": "parallel" if side_by_side else "pre-norm",
            "bias": "all",
            "feed_forward_size": settings.size("intermediate_size"),
            "eps": settings.get("layer_norm_eps", 1e-5),
            **rotary(settings, ("rotary_pct", 0.25)),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "hidden_size": arguments["input_size"],
            "num_hidden_layers": arguments["num_layers"],
            "num_attention_heads": arguments["num_heads"],
            "max_position_embeddings": arguments["context"],
            "hidden_act": THEIRS[arguments["activation"]],
            "hidden_dropout": arguments["dropout"],
            "use_parallel_residual": arguments["residual"] == "parallel",
            "attention_bias": True,
            "intermediate_size": arguments["feed_forward_size"],
            "layer_norm_eps": arguments["eps"],
            "rope_parameters": {"partial_rotary_factor": 1.0} | rope_parameters(arguments),
        }


FAMILY = GPTNeoX()
