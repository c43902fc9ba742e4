"""Averaged borders: what an active window reads at a deactivated position (knob ``border="mean"``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_ad.engine.masks import FeatureMask


def fill_border(x: Tensor, mask: FeatureMask, reach: Sequence[int]) -> Tensor:
    """Give dead positions near active ones the mean of the active positions around them.

    The neighbourhood is 3×3 (3 in each windowed dimension) and the step is repeated as far as a
    window reaches, each time with what was filled before. Neighbourhood padding of layer masking
    (Balasubramanian and Feizi 2023). Active positions keep their values bit for bit.

    Parameters
    ----------
    x : Tensor
        Values, zero where `mask` is dead; the last ``len(reach)`` dimensions are windowed.
    mask : FeatureMask
        Its mask.
    reach : sequence of int
        How far a window reaches from an active position, in each windowed dimension.
    """
    rank, steps = len(reach), max(reach, default=0)
    if steps == 0:
        return x
    windowed = [dim for dim, r in zip(range(-rank, 0), reach) if r]
    kept = mask.kept.expand(*mask.kept.shape[:-rank], *x.shape[-rank:])
    dead = mask.dead.expand(torch.broadcast_shapes(mask.dead.shape, kept.shape))
    values, known = x if mask.feature is None else x.masked_fill(~kept, 0), kept.expand(dead.shape)
    for _ in range(steps):
        count = _sum_around(known.to(x.dtype), windowed)
        fresh = dead & ~known & (count > 0)
        values = torch.where(fresh, _sum_around(values, windowed) / count.where(fresh, 1), values)
        known = known | fresh
        if not bool((dead & ~known).any()):
            break
    filled = values if mask.feature is None else torch.where(dead, values, x)
    return filled if filled.stride() == x.stride() else torch.empty_like(x).copy_(filled)  # keeps x's memory format


def _sum_around(values: Tensor, dims: Sequence[int]) -> Tensor:
    """The sum over each position's neighbourhood of 3 in each of these dimensions, itself included."""
    for dim in dims:
        last = values.shape[dim] - 1
        total = values.clone()
        total.narrow(dim, 1, last).add_(values.narrow(dim, 0, last))
        total.narrow(dim, 0, last).add_(values.narrow(dim, 1, last))
        values = total
    return values
