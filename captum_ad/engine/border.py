"""Averaged borders: what an active window reads at a deactivated position (knob ``border="mean"``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.masks import FeatureMask

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


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
    average, kernel = _AVERAGE[rank], [3 if r else 1 for r in reach]
    margins = [margin for r in reversed(reach) for margin in ([1, 1] if r else [0, 0])]

    def mean(values: Tensor) -> Tensor:
        flat = values.reshape(-1, 1, *values.shape[-rank:])
        return average(F.pad(flat, margins), kernel, 1).reshape(values.shape)  # avg_pool3d's own padding is too strict

    kept = mask.kept.expand(*mask.kept.shape[:-rank], *x.shape[-rank:])
    dead = mask.dead.expand(torch.broadcast_shapes(mask.dead.shape, kept.shape))
    values, known = x if mask.feature is None else x.masked_fill(~kept, 0), kept.expand(dead.shape)
    for _ in range(steps):
        share = mean(known.to(x.dtype))
        fresh = dead & ~known & (share > 0)
        values = torch.where(fresh, mean(values) / share.where(fresh, 1), values)
        known = known | fresh
        if not bool((dead & ~known).any()):
            break
    filled = torch.where(dead, values, x)
    return filled if filled.stride() == x.stride() else torch.empty_like(x).copy_(filled)  # keeps x's memory format
