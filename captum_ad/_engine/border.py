"""Averaged borders: the values that active windows read at deactivated positions (knob ``border="mean"``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.crop import Box, bounding_box
from captum_ad._engine.masks import PositionMask, all_true, broadcast
from captum_ad._engine.select import fill_, zeroed
from captum_ad._engine.static import is_recorded, unknown_values

_AT_ONCE = 2**18
"""The number of elements that are filled at once on a CPU: about as many as fit into its cache."""

_Steps = Sequence[tuple[Tensor, Tensor]]
"""For each step, the positions to fill and the divisors of the sums around them."""

_Sides = Mapping[int, tuple[int, int]]
"""(start, length) along the dimensions of a box."""


def fill_border_(x: Tensor, mask: PositionMask, reach: Sequence[int], read: Tensor | None = None) -> Tensor:
    """Fill dead positions near active ones with the mean of the active positions around them.

    It is done in `x`; while a program is recorded, in a copy.

    The neighborhood is 3×3 (3 in each windowed dimension). The step is repeated as far as a window
    reaches, each time using the positions filled before. This is the neighborhood padding of layer
    masking (Balasubramanian and Feizi 2023). Active positions keep their values bit for bit.

    Parameters
    ----------
    x : Tensor
        Values, zero where `mask` is dead. The last ``len(reach)`` dimensions are windowed.
    mask : PositionMask
        The mask of `x`.
    reach : sequence of int
        How far a window reaches from an active position, in each windowed dimension.
    read : Tensor, optional
        Where active windows read, bool, broadcasts to `x`: other positions need not be filled.
    """
    rank, steps = len(reach), max(reach, default=0)
    if steps == 0:
        return x
    windowed = [dim for dim, r in zip(range(-rank, 0), reach) if r]
    key = tuple(reach), tuple(x.shape[-rank:])
    if is_recorded():
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return _filled(x, mask, _steps(mask, *key, windowed), windowed)
        filled = x.clone()
        torch.ops.captum_ad.fill_border_(filled, mask.kept, mask.given_feature, reach, read)
        return filled
    inside = None if mask.feature is None else _box_of_features(mask)
    if inside is not None:  # padding around it is not averaged
        inner = None if read is None else inside.of(read)
        fill_border_(inside.of(x), PositionMask(inside.of(mask.kept)), reach, inner)
        return x
    if read is not None:
        fills, box = _planned(mask, *key, windowed, read)
    else:
        if key not in mask.fills:  # masks that were renewed unchanged share it
            with torch.inference_mode(False):  # the mask may outlive this forward
                mask.fills[key] = _planned(mask, *key, windowed)
        fills, box = mask.fills[key]
    if box is None:
        return x
    divisors = [divisor.to(x.dtype) for _, divisor in fills]
    cropped = [_crop(part, box) for part in (x, mask.kept, *(where for where, _ in fills), *divisors)]
    channels = x.dim() - rank - 1
    cuttable = (
        channels if channels >= 0 and x.stride(channels) == 1 else channels + 1
    )  # short runs of channels are slow
    for around, kept, *steps_here in _in_pieces(cropped, cuttable):
        values = around if mask.feature is None else zeroed(around, PositionMask(kept))
        for where, divisor in zip(steps_here[: len(fills)], steps_here[len(fills) :]):
            total = _sum_around(values, windowed)
            mean = total.div_(divisor) if x.is_floating_point() or x.is_complex() else total / divisor
            fill_(around, mean, where)
            if values is not around:
                fill_(values, mean, where)
    return x


def _fill_border_uncompiled(
    x: Tensor, kept: Tensor, feature: Tensor | None, reach: Sequence[int], read: Tensor | None
) -> None:
    with unknown_values(None):
        fill_border_(x, PositionMask(kept, feature), reach, read)


# One operator in compiled programs: on a CPU, pieces that fit into its cache are faster than what compilers make of it.
if not hasattr(torch.ops.captum_ad, "fill_border_"):  # torch keeps it if this module is imported again
    torch.library.define(
        "captum_ad::fill_border_",
        "(Tensor(a!) x, Tensor kept, Tensor? feature, int[] reach, Tensor? read) -> ()",
        tags=[tag for tag in (getattr(torch.Tag, "flexible_layout", None),) if tag is not None],  # older torch has none
    )
    torch.library.impl("captum_ad::fill_border_", "CPU", _fill_border_uncompiled)
    torch.library.register_fake("captum_ad::fill_border_", lambda *_: None)


def _box_of_features(mask: PositionMask) -> Box | None:
    """The box that the features fill, if they do; None if they do not, or if Python would have to wait for a GPU."""
    feature = mask.given_feature
    if feature is None or feature.device.type != "cpu":
        return None
    box = bounding_box(feature.view(torch.uint8).amax(0).numpy().view(bool))
    return box if box is not None and all_true(box.of(feature)) else None


def _planned(
    mask: PositionMask, reach: Sequence[int], sizes: Sequence[int], windowed: Sequence[int], read: Tensor | None = None
) -> tuple[_Steps, _Sides | None]:
    """What to fill, step by step, and the box around it."""
    steps = _steps(mask, reach, sizes, windowed)
    if read is not None:
        steps = _needed(steps, read, windowed)
    return steps, _box(steps, windowed, sizes)


def _steps(mask: PositionMask, reach: Sequence[int], sizes: Sequence[int], windowed: Sequence[int]) -> _Steps:
    """What to fill, step by step; the divisor is the number of neighbors that are averaged."""
    rank, counted = len(reach), torch.float32 if is_recorded() else torch.uint8  # a compiler pools, bytes are faster
    known = mask.kept.expand(*mask.kept.shape[:-rank], *sizes)
    dead = mask.dead.expand(broadcast(mask.dead.shape, known.shape))
    known = known.expand(dead.shape)
    steps = []
    for _ in range(max(reach)):
        count = _sum_around(known.to(counted), windowed)
        where = dead & ~known & count.bool()
        steps.append((where, count.clamp(min=1)))
        known = known | where
    return steps


def _needed(steps: _Steps, read: Tensor, windowed: Sequence[int]) -> _Steps:
    """The positions of each step that windows read, or that a later step averages."""
    needed: list[tuple[Tensor, Tensor]] = []
    for where, divisor in reversed(steps):
        used = read
        if needed:
            used = used | _sum_around(needed[0][0].to(torch.uint8), windowed).bool()
        where = where & used
        if where.view(torch.uint8).any():
            needed.insert(0, (where, divisor))
    return needed


def _filled(x: Tensor, mask: PositionMask, steps: _Steps, windowed: Sequence[int]) -> Tensor:
    """A copy with what each step fills, in operations that compilers fuse."""
    values = x if mask.feature is None else zeroed(x, PositionMask(mask.kept))
    for where, divisor in steps:
        mean = (_pooled(values, windowed) / divisor).to(x.dtype)
        filled = x.where(~where, mean)
        x, values = filled, filled if values is x else values.where(~where, mean)
    return x


def _in_pieces(parts: Sequence[Tensor], dims: int, dim: int = 0) -> Iterator[Sequence[Tensor]]:
    """Cut a tensor and those that broadcast to it along the first `dims` dimensions, to fit into a CPU's cache."""
    size, length = parts[0].numel(), parts[0].shape[dim]
    if size <= _AT_ONCE or dim == dims or parts[0].device.type != "cpu":
        yield parts
        return
    step = max(1, _AT_ONCE * length // size)
    for start in range(0, length, step):
        cut = [p.narrow(dim, start, min(step, length - start)) if p.shape[dim] > 1 else p for p in parts]
        yield from _in_pieces(cut, dims, dim + 1)


def _box(steps: _Steps, dims: Sequence[int], sizes: Sequence[int]) -> _Sides | None:
    """The box around all that is filled and its neighbors, in these dimensions; None if nothing is filled.

    On a GPU it is everything, because Python would have to wait for the values.
    """
    if not steps:
        return None
    where = reduce(or_, (where for where, _ in steps)).view(torch.uint8)  # of bytes, torch's "amax" is fast
    if where.device.type != "cpu":
        return {}
    box = {}
    for dim in dims:
        others = [d for d in range(-where.dim(), 0) if d != dim]
        there = (where.amax(others) if others else where).nonzero()
        if len(there) == 0:
            return None
        start, end = max(int(there[0]) - 1, 0), min(int(there[-1]) + 2, sizes[dim])
        box[dim] = start, end - start
    return box


def _crop(x: Tensor, box: _Sides) -> Tensor:
    for dim, (start, length) in box.items():
        x = x.narrow(dim, start, length) if x.shape[dim] > 1 else x
    return x


def _sum_around(values: Tensor, dims: Sequence[int]) -> Tensor:
    """The sum over each position and its neighbors at distance 1 in each of these dimensions."""
    if is_recorded():
        return _pooled(values, dims)
    for dim in dims:
        last = values.shape[dim] - 1
        first, behind = values.narrow(dim, 0, last), values.narrow(dim, 1, last)
        if torch.is_grad_enabled() and values.requires_grad:  # autograd knows no "out"
            total = values.clone()
            total.narrow(dim, 1, last).add_(first)
        else:
            total = torch.empty_like(values)
            total.narrow(dim, 0, 1).copy_(values.narrow(dim, 0, 1))
            torch.add(behind, first, out=total.narrow(dim, 1, last))
        total.narrow(dim, 0, last).add_(behind)
        values = total
    return values


def _pooled(values: Tensor, dims: Sequence[int]) -> Tensor:
    """The same sum as a pool, of which compilers make one pass; of sums into parts of a tensor they make many."""
    poolable = (-2, -1) if values.is_floating_point() else ()
    for dim in dims:
        if dim not in poolable:
            sides = [0, 0] * (-dim - 1)
            values = values + F.pad(values, [*sides, 1, -1]) + F.pad(values, [*sides, -1, 1])
    width = [3 if dim in dims else 1 for dim in (-2, -1)]
    if not poolable or width == [1, 1]:
        return values
    shape = values.shape
    if values.dim() < 3:
        values = values[(None,) * (3 - values.dim())]
    elif values.dim() > 4:
        values = values.flatten(0, -4)
    return F.avg_pool2d(values, width, 1, [side // 2 for side in width], divisor_override=1).reshape(shape)
