"""xLSTM 7B (Beck et al. 2025): layers of mLSTM and gated feed-forward layers."""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

from seqmodels.interop.families.family import Decoder, Rows, Weight, arranged, stacked
from seqmodels.interop.families.settings import Settings
from seqmodels.nn import MLSTM

BLOCK = "backbone.blocks.{}."
CELL = BLOCK + "mixer.cell."
LAYER, FEED = "blocks.{}.mlstm_layer.", "blocks.{}.ffn."


def _rounded(size: float, step: int) -> int:
    """The next multiple of `step`, as the family rounds sizes."""
    return int((size + step - 1) // step * step)


class XLSTM(Decoder):
    """RMS norm, no biases but those of the gates, softly bounded logits."""

    model_type = "xlstm"
    architecture = "xLSTMForCausalLM"
    prefix = "backbone."
    backbone = MLSTM
    tied = None
    cap = "output_logit_soft_cap"
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embeddings.weight"),
        BLOCK + "norm_mixer.weight": Weight("blocks.{}.norm_mlstm.weight"),
        CELL + "norm": Weight(LAYER + "multihead_norm.weight"),
        CELL + "out.weight": Weight(LAYER + "out_proj.weight"),
        BLOCK + "norm_feed_forward.weight": Weight("blocks.{}.norm_ffn.weight"),
        BLOCK + "feed_forward.out.weight": Weight(FEED + "proj_down.weight"),
        "backbone.norm.weight": Weight("out_norm.weight"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "XLSTM":
        """With one tensor for each part of a projection, or fused ones."""
        found, network = XLSTM(), self.network(settings)
        heads = network["num_heads"]
        keys, values = heads * network["key_size"], heads * network["head_size"]
        if settings.get("weight_mode", "single") == "fused":
            both = LAYER + "qkv_opreact.weight", LAYER + "ifgate_preact.weight"
            projection = arranged(both, [(2 * keys + 2 * values,), (2 * heads,)])
            bias, up = Weight(LAYER + "ifgate_preact.bias"), Weight(FEED + "proj_up_gate_z.weight")
        else:
            parts = {"q": keys, "k": keys, "v": values, "ogate_preact": values}
            parts |= {"igate_preact": heads, "fgate_preact": heads}
            projection = arranged([f"{LAYER}{one}.weight" for one in parts], [(size,) for size in parts.values()])
            bias = stacked(LAYER + "igate_preact.bias", LAYER + "fgate_preact.bias")
            up = stacked(FEED + "proj_up_gate.weight", FEED + "proj_up.weight")
        more = {CELL + "projection.weight": projection, CELL + "bias": bias, BLOCK + "feed_forward.up.weight": up}
        found.weights = {**self.weights, **more}  # type: ignore[misc]
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(use_bias=False, gate_soft_cap=15.0, eps=1e-6, add_out_norm=True)
        size, heads = settings.size("hidden_size"), settings.size("num_heads")
        wide = size * settings.get("ffn_proj_factor", 2.667)
        return {
            "input_size": size,
            "num_layers": settings.size("num_hidden_layers"),
            "num_heads": heads,
            "head_size": int(size * settings.get("v_dim_factor", 1.0)) // heads,
            "key_size": int(size * settings.get("qk_dim_factor", 0.5)) // heads,
            "norm": "rms",
            "activation": "swiglu",
            "feed_forward_size": _rounded(wide, settings.get("ffn_round_up_to_multiple_of", 64)),
            "eps": settings.get("norm_eps", 1e-6),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        size, heads = arguments["input_size"], arguments["num_heads"]

        def factor(count: int) -> float:
            return float(count + 0.25) / float(size)  # which is rounded down, whatever its last digit

        return {
            "hidden_size": size,
            "num_hidden_layers": arguments["num_layers"],
            "num_heads": heads,
            "v_dim_factor": factor(heads * arguments["head_size"]),
            "qk_dim_factor": factor(heads * arguments["key_size"]),
            "ffn_proj_factor": factor(arguments["feed_forward_size"]),
            "ffn_round_up_to_multiple_of": 1,
            "norm_eps": arguments["eps"],
            "weight_mode": "single",
        }


FAMILY = XLSTM()
