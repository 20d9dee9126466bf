"""Positions: as vectors added to the inputs, as angles of queries and keys, or as a bias of their scores."""

import math
from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from seqmodels.environment import widest
from seqmodels.errors import InputError

PositionKind = Literal["rotary", "learned", "sinusoidal", "relative", "none"]
Rotation = tuple[Tensor, Tensor]
LINEAR, LLAMA3 = {"factor"}, {"factor", "low", "high", "context"}
"""Keys of the two kinds of rotary scaling."""


class Positions:
    """How a stack of attention layers knows positions; a kind does one of three things, and none of them by itself.

    Without any, causal attention can tell positions apart all the same, by how much there is to attend to (Haviv et al.
    2022, Kazemnejad et al. 2023); attention in both directions reads a bag of tokens.
    """

    ends: int | None = None
    """Number of positions there are; None for no end."""
    are_of_pairs = False
    """Whether they are a bias of scores, of a query and a key."""

    def vectors(self, positions: Tensor) -> Tensor | None:
        """What is added to the inputs at positions (...): (..., D)."""
        return None

    def rotation(self, positions: Tensor) -> Rotation | None:
        """Cosine and sine of the angles of queries and keys at positions (B, T): (B, 1, T, D / 2H), at full width."""
        return None

    def bias(self, distance: Tensor) -> Tensor:
        """What is added to the scores of keys that lie so many positions back, (..., T, S): (..., H, T, S)."""
        raise NotImplementedError


class Learned(Positions, nn.Embedding):
    """One vector for each position (Gehring et al. 2017), the first of which has number `offset`."""

    def __init__(self, context: int, size: int, offset: int = 0) -> None:
        super().__init__(context + offset, size)
        self.ends, self.offset = context, offset

    def vectors(self, positions: Tensor) -> Tensor:
        return cast(Tensor, self(positions + self.offset if self.offset else positions))


class Sinusoidal(Positions):
    """Sines in the first half of the features, cosines in the second (Vaswani et al. 2017), without end."""

    def __init__(self, size: int, offset: int = 0) -> None:
        if size % 2:
            raise InputError(f"sinusoidal positions are pairs of features: input_size={size} must be even")
        self.size, self.offset = size, offset

    def vectors(self, positions: Tensor) -> Tensor:
        angles = rotary_angles(positions.flatten()[None] + self.offset, self.size)[0, 0]
        return torch.cat((angles.sin(), angles.cos()), -1).view(*positions.shape, self.size)


class Rotary(Positions):
    """Pairs of features of queries and keys turn with the position (Su et al. 2021).

    Args:
        size: features of a head that turn, an even number; the others stay.
        base: see `rotary_angles`.
        scaling: for more positions than a network was trained on, `{"factor": f}` slows all angles (Chen et al. 2023);
            with `low`, `high` and `context` slow ones only, as in Llama 3: those that turn at most `low` times in the
            old `context`, in part up to `high` times.
    """

    def __init__(self, size: int, base: float = 10_000.0, scaling: Mapping[str, float] | None = None) -> None:
        if scaling is not None and set(scaling) not in (LINEAR, LLAMA3):
            raise InputError(
                f"rotary_scaling={dict(scaling)} was given; expected the key factor, or factor, low, high and context"
            )
        if base <= 0 or min((scaling or {"factor": 1}).values()) <= 0:
            raise InputError(f"rotary_base={base} and rotary_scaling={scaling} were given; expected positive numbers")
        self.size, self.base, self.scaling = size, base, scaling

    def rotation(self, positions: Tensor) -> Rotation:
        angles = rotary_angles(positions, self.size, self.base, self.scaling)
        return angles.cos(), angles.sin()


class Relative(Positions, nn.Embedding):
    """A learned bias of scores by bucket of distance, for each head (Raffel et al. 2020, section 2.1).

    Half of the buckets are single distances, the others grow up to `farthest`, where the last one begins. Where later
    keys are seen, they have one half of all buckets.
    """

    are_of_pairs = True

    def __init__(self, heads: int, buckets: int, farthest: int, causal: bool) -> None:
        one_way = buckets if causal else buckets // 2
        if buckets < 2 or one_way < 2 or farthest <= one_way // 2:
            raise InputError(
                f"position_buckets={buckets} and farthest_bucket={farthest} were given; expected at least "
                f"{2 if causal else 4} buckets, and the last one behind the single distances"
            )
        super().__init__(buckets, heads)
        self.one_way, self.farthest, self.causal = one_way, farthest, causal

    def bias(self, distance: Tensor) -> Tensor:
        size, single = distance.clamp(min=0) if self.causal else distance.abs(), self.one_way // 2
        # In single precision, as those who made such weights: a distance on the border falls to the same side.
        growth = (size.clamp(min=1).float() / single).log() / math.log(self.farthest / single)
        far = single + (growth * (self.one_way - single)).long().clamp(max=self.one_way - single - 1)
        bucket = torch.where(size < single, size, far)
        if not self.causal:
            bucket = bucket + self.one_way * (distance < 0)
        return cast(Tensor, self(bucket)).movedim(-1, -3)


def rotary_angles(
    positions: Tensor, head_size: int, base: float = 10_000.0, scaling: Mapping[str, float] | None = None
) -> Tensor:
    """Angle of every pair of features of a head at every position (Su et al. 2021, eq. 15).

    From positions (B, T) to angles (B, 1, T, head_size / 2), in double precision where the device has it: products with
    large positions need it. Wavelengths grow from 2 pi to 2 pi times `base`. For `scaling` see `Rotary`.
    """
    dtype = widest(positions.device)
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=dtype) / head_size
    frequencies = base**-exponents
    if scaling is not None:
        kept = torch.zeros_like(frequencies)  # how much of a frequency stays as it was
        if set(scaling) == LLAMA3:
            turns = scaling["context"] * frequencies / (2 * math.pi)
            kept = ((turns - scaling["low"]) / (scaling["high"] - scaling["low"])).clamp(0, 1)
        frequencies = frequencies * (kept + (1 - kept) / scaling["factor"])
    return positions[:, None, :, None] * frequencies
