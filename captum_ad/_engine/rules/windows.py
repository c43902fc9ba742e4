"""Helpers for operations on sliding windows: settings per dimension, and geometry."""

from __future__ import annotations

from collections.abc import Sequence

from captum_ad._engine.positions import Geometry

Setting = int | Sequence[int]


def per_dim(value: Setting, rank: int) -> list[int]:
    """A setting as a list with one value per dimension; it may be given once for all dimensions."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def geometry(inputs: Sequence[int], outputs: Sequence[int], *settings: Sequence[int]) -> list[Geometry]:
    """The geometry along each windowed dimension; all arguments hold one value per dimension."""
    return [Geometry(*line) for line in zip(inputs, outputs, *settings)]
