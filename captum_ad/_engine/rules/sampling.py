"""Interpolation: resizing, and sampling at the points of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.definitions import attribute_positions, exceeds, renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_of
from captum_ad._engine.positions import adaptive_windows, resized_windows
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.combined_masks import intersection
from captum_ad._engine.rules.windows import geometry, per_dim

_AREA = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


@register_rule("interpolate")
def interpolate(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Checkpoint before; Φ over the input positions that have a weight in an output position."""
    rank = input.dim() - 2
    settings = (mode, align_corners, recompute_scale_factor, antialias)
    if mode == "area":  # torch's other name for an adaptive average
        outputs = op(input[:1, :1], size, scale_factor, *settings).shape[2:]
        return ad.follow(_AREA[rank], input, outputs)
    sizes = [None] * rank if size is None else per_dim(size, rank)
    scales = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * rank
    exact = "nearest" in mode  # the nearest position depends on how the kernel rounds: use its dtype and device
    place = (input.dtype, input.device) if exact else (torch.float64, torch.device("cpu"))
    reads = [_taps(*line, rank, settings, *place).to(input.device) for line in zip(input.shape[2:], sizes, scales)]
    out = op(ad.window_input(input, [_extent(matrix) for matrix in reads]), size, scale_factor, *settings)
    mask = ad.mask(input)
    if mask is not None:
        mask = attribute_positions(mask, resized_windows(reads, input.device), ad.rule, ad.tau).mask
    return ad.emit(out, mask)


@lru_cache(maxsize=512)
def _taps(
    n: int, size: int | None, scale: float | None, rank: int, settings: Any, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Which positions of a line an interpolation reads, as a 0/1 matrix, found by resizing unit impulses."""
    others = [1] * (rank - 1)  # the line comes last: torch's antialiasing goes wrong on maps of width 1
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        impulses = torch.eye(n, dtype=dtype, device=device).reshape(1, n, *others, n)
        sizes = None if size is None else [*others, size]
        scales = None if scale is None else [*map(float, others), scale]
        weights = F.interpolate(impulses, sizes, scales, *settings).flatten(2)
        return (weights[0].abs() > 1e-10).float().T.contiguous()  # anything smaller is a rounding error


def _extent(reads: Tensor) -> int:
    """The distance from the first to the last position of the widest window."""
    position = torch.arange(reads.shape[1], device=reads.device)
    last = torch.where(reads > 0, position, -1).amax(1)
    first = torch.where(reads > 0, position, reads.shape[1]).amin(1)
    return int((last - first).max().clamp(min=0))


@register_rule("grid_sample")
def grid_sample(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Checkpoint before; Φ over the in-bounds taps that have a weight. Without growth, a nearest tap must be active.

    This holds for a grid of constants, and for one made of statistics (spatial transformers make one grid for the whole
    map). In the second case the mask depends on the values of features, so a larger mask of the input may give a
    smaller mask of the result.

    A grid that has positions (a flow) has its own mask, and each point is a factor of what is read there: the result is
    active where the point is, and where the input would be if nothing moved. Following the points instead could shrink
    the result's mask anywhere when the input's mask grows and the points move.
    """
    if mode == "bicubic":
        ad.refuse('has mode="bicubic", for which there is no rule')
    rank, mask, points = input.dim() - 2, written_mask(ad, input), ad.mask(grid)
    flows = ad.is_data(grid) and not ad.is_statistic(grid)
    grid = ad.deactivate(grid)
    out = op(ad.window_input(input, [int(mode != "nearest")] * rank), grid, mode, padding_mode, align_corners)
    if flows:
        cells = adaptive_windows(geometry(input.shape[2:], out.shape[2:]), input.device)
        read = attribute_positions(mask, cells, ad.rule, ad.tau).mask
    else:
        lines = [
            _line_taps(grid.detach()[..., rank - 1 - d].flatten(1), n, mode, padding_mode, bool(align_corners))
            for d, n in enumerate(input.shape[2:])
        ]
        kept, features = _count_taps(mask, input, lines, 0)
        alive = exceeds(kept, features, ad.tau)
        if ad.rule.growth == "none":
            covered, cell = _count_taps(mask, input, lines, 1)
            alive &= (covered > 0) | (cell == 0)
        read = renewed(alive, features).map(lambda part: part.unflatten(2, grid.shape[1:-1]))
    if points is not None:
        read = intersection([read, all_of(points, -1).map(lambda part: part.movedim(-1, 1))])
    return ad.emit(out, read)


_Tap = tuple[Tensor, Tensor, Tensor]  # position, whether it is read, whether it is a nearest one


def _line_taps(coordinate: Tensor, size: int, mode: str, padding_mode: str, align_corners: bool) -> list[_Tap]:
    """The two taps along one dimension for coordinates in [-1, 1]; weights due to rounding do not count."""
    rounding = 16 * size * torch.finfo(coordinate.dtype).eps
    at = coordinate.double()
    at = (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2
    if padding_mode == "reflection":
        at = _reflected(at, 0, size - 1) if align_corners else _reflected(at, -0.5, size - 0.5)
    if padding_mode != "zeros":
        at = at.clamp(0, size - 1)
    if mode == "nearest":
        nearest = at.round()  # half to even, as torch does
        inside = (nearest >= 0) & (nearest < size)
        return [(nearest.clamp(0, size - 1).long(), inside, inside)]
    at = at.round().where((at - at.round()).abs() < rounding, at)
    first = at.floor()
    beyond = at - first
    taps = [(first, beyond < 1, beyond <= 0.5), (first + 1, beyond > 0, beyond >= 0.5)]
    return [
        (tap.clamp(0, size - 1).long(), reads & (inside := (tap >= 0) & (tap < size)), nearest & inside)
        for tap, reads, nearest in taps
    ]


def _reflected(at: Tensor, low: float, high: float) -> Tensor:
    if high == low:
        return torch.zeros_like(at)
    at, span = (at - low).abs(), high - low
    turns, rest = (at / span).floor(), at.remainder(span)
    return torch.where(turns % 2 == 0, rest, span - rest) + low


def _count_taps(mask: PositionMask, x: Tensor, lines: Sequence[Sequence[_Tap]], which: int) -> tuple[Tensor, Tensor]:
    """The number of kept features and of features among the taps of each point; `which`: 0 all read, 1 the nearest."""
    sizes = x.shape[2:]

    def count(part: Tensor) -> Tensor:
        flat = part.expand(x.shape[0], part.shape[1], *sizes).flatten(2)
        total: Tensor = torch.zeros((), device=x.device)
        for taps in itertools.product(*lines):
            index, chosen = torch.zeros_like(taps[0][0]), torch.ones_like(taps[0][1])
            for (position, *uses), size in zip(taps, sizes):
                index, chosen = index * size + position, chosen & uses[which]
            found = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
            total = total + (found & chosen[:, None])
        return total

    return count(mask.kept), count(mask.everywhere)
