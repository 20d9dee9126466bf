"""RWKV-7 (Peng et al. 2025), as flash-linear-attention writes it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.interop.families.family import Decoder, Heads, Rows, Weight
from seqmodels.interop.families.settings import Settings
from seqmodels.nn import rwkv7

SHIFTED = "rwkvag"
"""Letters of the shares, in our order."""
RANKS = {"decay_rank": "decay", "rate_rank": "a", "gate_rank": "gate", "value_rank": "v"}
"""Theirs are called so, with `_low_rank_dim` behind."""


@dataclass(frozen=True)
class Shaped(Weight):
    """A vector that is stored in another shape, in which 0 stands for the number of heads."""

    shape: tuple[int, ...] = (1, 1, -1)

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        return parts[0].flatten()

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return [ours.view([heads[0] if size == 0 else size for size in self.shape])]


@dataclass(frozen=True)
class Row(Weight):
    """One of the six shares that older files have in one tensor."""

    number: int = 0

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        return parts[0].view(len(SHIFTED), -1)[self.number].clone()

    def taken(self, held: int) -> int:
        return held // len(SHIFTED)


class RWKV7(Decoder):
    """Layer norms, one of them before the first block; feed-forward layers that see two inputs."""

    model_type = "rwkv7"
    architecture = "RWKV7ForCausalLM"
    library = "flash-linear-attention"
    prefix = "model."
    backbone = rwkv7.RWKV7
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embeddings.weight"),
        "backbone.norm_inputs.weight": Weight("layers.0.pre_norm.weight"),
        "backbone.norm_inputs.bias": Weight("layers.0.pre_norm.bias"),
        "backbone.norm.weight": Weight("norm.weight"),
        "backbone.norm.bias": Weight("norm.bias"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "RWKV7":
        """With two blocks of ours for each layer; and shares as the folder has them."""
        found, weights = RWKV7(), dict(self.weights)
        for number in range(self.network(settings)["num_layers"]):
            weights |= _layer(f"layers.{number}.", 2 * number, f"layers.{number}.attn.x_x" in names)
        found.weights = weights  # type: ignore[misc]
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(hidden_act="sqrelu", norm_bias=True, attn=None)
        size, layers = settings.size("hidden_size"), settings.size("num_hidden_layers")
        given = settings.size_or_none("num_heads")
        head = settings.get("head_dim", size // given if given else 64)
        heads = given or size // max(1, head)
        if heads * head != size:
            raise InputError(
                f"head_dim={head} and {heads} heads are in {settings.where}; expected {size} features of all heads"
            )
        if (values := settings.fields.get("value_dim", size)) not in (size, [size] * layers):
            raise InputError(f"value_dim={values!r:.60} in {settings.where} is not known here; expected {size}")
        wide = int(size * settings.get("hidden_ratio", 4.0))
        usual = {"decay_rank": 64, "rate_rank": 64, "gate_rank": 128, "value_rank": 16}
        return {
            "input_size": size,
            "num_layers": layers,
            "num_heads": heads,
            **{ours: settings.get(f"{theirs}_low_rank_dim", usual[ours]) for ours, theirs in RANKS.items()},
            "norm_first": settings.get("norm_first", True),
            "feed_forward_size": settings.size_or_none("intermediate_size") or -(-wide // 32) * 32,
            "eps": settings.get("norm_eps", 1e-5),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        size, heads = arguments["input_size"], arguments["num_heads"]
        return {
            "hidden_size": size,
            "num_hidden_layers": arguments["num_layers"],
            "head_dim": size // heads,
            "num_heads": heads,
            **{f"{theirs}_low_rank_dim": arguments[ours] for ours, theirs in RANKS.items()},
            "norm_first": arguments["norm_first"],
            "intermediate_size": arguments["feed_forward_size"],
            "norm_eps": arguments["eps"],
        }


def _layer(theirs: str, number: int, together: bool) -> dict[str, Weight]:
    """Weights of a layer, which is two blocks here, the first with that number."""
    mixing, feeding, attn = f"backbone.blocks.{number}.", f"backbone.blocks.{number + 1}.", f"{theirs}attn."
    cell, fed = mixing + "mixer.cell.", feeding + "mixer.cell."
    found: dict[str, Weight] = {
        f"{cell}shares.{place}": Row(f"{attn}x_x", place) if together else Shaped(f"{attn}x_{letter}")
        for place, letter in enumerate(SHIFTED)
    }
    for ours, name in {"query": "r", "key": "k", "value": "v", "out": "o"}.items():
        found[f"{cell}{ours}.weight"] = Weight(f"{attn}{name}_proj.weight")
    for ours, name in {"down.0": "w", "down.1": "a", "down.2": "g", "value_down": "v"}.items():
        found[f"{cell}{ours}.weight"] = Weight(f"{attn}{name}_lora.lora.0.weight")
        for kind in ("weight", "bias"):
            found[f"{cell}{ours.replace('down', 'up')}.{kind}"] = Weight(f"{attn}{name}_lora.lora.2.{kind}")
    found |= {
        f"{cell}removed": Weight(f"{attn}k_k"),
        f"{cell}learned": Weight(f"{attn}k_a"),
        f"{cell}bonus": Shaped(f"{attn}r_k", (0, -1)),
        f"{cell}norm_weight": Weight(f"{attn}g_norm.weight"),
        f"{cell}norm_bias": Weight(f"{attn}g_norm.bias"),
        f"{fed}share": Weight(f"{theirs}ffn.x_k"),
        f"{fed}key.weight": Weight(f"{theirs}ffn.key.weight"),
        f"{fed}out.weight": Weight(f"{theirs}ffn.value.weight"),
    }
    for block, name in ((mixing, "attn_norm"), (feeding, "ffn_norm")):
        found |= {f"{block}norm_mixer.{kind}": Weight(f"{theirs}{name}.{kind}") for kind in ("weight", "bias")}
    return found


FAMILY = RWKV7()
