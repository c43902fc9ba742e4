"""Combining the masks of several maps: of a sum, of a product, of a concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from captum_ad._engine.definitions import exceeds, renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, same


def alike(masks: Sequence[PositionMask]) -> bool:
    """Whether all masks are equal."""
    return all(mask.equals(masks[0]) for mask in masks)


def sum_mask(ad: Interpreter, masks: Sequence[PositionMask]) -> PositionMask:
    """The mask of a sum of maps with these masks; the same object as one of them, if it equals it."""
    return masks[0] if alike(masks) else sum_of_unlike(ad, masks)


def sum_of_unlike(ad: Interpreter, masks: Sequence[PositionMask]) -> PositionMask:
    """Like :func:`sum_mask`, for masks that are not all equal."""
    if ad.rule.sum == "union" and ad.tau == 0 and all(mask.feature is None for mask in masks):
        return _one_of(masks, reduce(torch.bitwise_or, [mask.kept for mask in masks])).put_in_box(masks)
    return summed(ad, *_counts(masks))


def summed(ad: Interpreter, kept: Tensor, features: Tensor) -> PositionMask:
    """The mask of sums of `features` features, `kept` of them kept, according to ``ad.rule.sum``."""
    alive = exceeds(kept, features, ad.tau) if ad.rule.sum == "union" else kept == features
    return renewed(alive, features)


def intersection(masks: Sequence[PositionMask]) -> PositionMask:
    """The mask that is active where every feature is."""
    if alike(masks):
        return masks[0]
    if all(mask.feature is None for mask in masks):
        return _one_of(masks, reduce(torch.bitwise_and, [mask.kept for mask in masks]))
    kept, features = _counts(masks)
    return renewed(kept == features, features)


def _one_of(masks: Sequence[PositionMask], kept: Tensor) -> PositionMask:
    """The mask with this `kept`; an equal one of `masks` if there is one, because its properties may be cached."""
    return next((mask for mask in masks if mask.feature is None and same(mask.kept, kept)), PositionMask(kept))


def side_by_side(masks: Sequence[PositionMask | None], lengths: Sequence[int], dim: int) -> PositionMask | None:
    """The mask of a concatenation along `dim` of maps with these lengths there; a mask of None is full."""
    if all(mask is None for mask in masks):
        return None
    known = next(mask for mask in masks if mask is not None)
    if (
        all(mask is not None and mask.equals(known) for mask in masks)
        and known.kept.shape[dim] == 1
        and known.feature is None
    ):
        return known
    full = PositionMask(torch.ones_like(known.kept).narrow(dim, 0, 1))
    written = [mask or full for mask in masks]
    kept = _joined([mask.kept for mask in written], lengths, dim)
    if all(mask.feature is None for mask in written):
        return PositionMask(kept)
    return PositionMask(kept, _joined([mask.everywhere for mask in written], lengths, dim))


def _joined(parts: Sequence[Tensor], lengths: Sequence[int], dim: int) -> Tensor:
    sizes = [max(part.shape[d] for part in parts) for d in range(parts[0].dim())]

    def grown(part: Tensor, length: int) -> Tensor:
        target = list(sizes)
        target[dim] = length
        return part.expand(target)

    return torch.cat([grown(part, length) for part, length in zip(parts, lengths)], dim)


def _counts(masks: Sequence[PositionMask]) -> tuple[Tensor, Tensor]:
    """At each position, the number of operands with a kept feature and the number with a feature."""
    kept = torch.stack(torch.broadcast_tensors(*(mask.kept for mask in masks))).sum(0, dtype=torch.float32)
    there = torch.stack(torch.broadcast_tensors(*(mask.everywhere for mask in masks))).sum(0, dtype=torch.float32)
    return kept, there


def aligned(mask: PositionMask, dims: int) -> PositionMask:
    """The mask with leading dimensions added up to `dims`, as in broadcasting; the same object if none is missing."""
    missing = dims - mask.kept.dim()
    return mask if missing == 0 else mask.map(lambda part: part[(None,) * missing])
