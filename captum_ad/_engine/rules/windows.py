"""What operations on sliding windows share: their settings per dimension, their geometry."""

from __future__ import annotations

from collections.abc import Sequence

from captum_ad._engine.positions import Geometry

Setting = int | Sequence[int]


def per_dim(value: Setting, rank: int) -> list[int]:
    """A setting written once for all dimensions, or for each."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def geometry(inputs: Sequence[int], outputs: Sequence[int], *settings: Sequence[int]) -> list[Geometry]:
    """The geometry along each windowed dimension, from sizes and settings per dimension."""
    return [Geometry(*line) for line in zip(inputs, outputs, *settings)]
