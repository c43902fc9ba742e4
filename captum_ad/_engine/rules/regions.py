"""torchvision's operations that read a map between its positions: RoIAlign and deformable convolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_ad._engine.definitions import Windows, attribute_positions, exceeds, renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._engine.masks import PositionMask, all_of
from captum_ad._engine.positions import Slide
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.combined_masks import intersection


@register_rule("torchvision::roi_align")
def roi_align(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Checkpoint before; like an adaptive average pool of each box, where a cell covers what it reads."""
    ad.only(input)
    if ad.is_data(rois):
        ad.refuse("reads boxes that are computed from features, so that the mask would depend on their values")
    mask, settings = ad.mask(input), (spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
    assert mask is not None
    down, across = (
        _read_by_cells(rois[:, [i, i + 2]].detach().double() * spatial_scale, cells, size, sampling_ratio, aligned)
        for i, cells, size in zip((2, 1), (pooled_height, pooled_width), input.shape[2:])
    )
    image = rois[:, 0].long()

    def count(part: Tensor) -> Tensor:
        of_boxes = part.expand(len(input), -1, *input.shape[2:])[image].float()
        return torch.einsum("kih,kchw,kjw->kcij", down, of_boxes, across)

    kept, features = count(mask.kept), count(mask.everywhere)
    behind = renewed(exceeds(kept, features, ad.tau), features)
    if ad.rule.average == "all":
        widest = [int(reads.sum(2).max()) - 1 for reads in (down, across)]
        return ad.emit(op(ad.window_input(input, widest), rois, *settings), behind)
    out = op(ad.deactivate(input), rois, *settings)
    there, live = (
        op(part.expand(input.shape).to(input.dtype), rois, *settings) for part in (mask.everywhere, mask.kept)
    )
    scale = (there / live).where((live > 0) & (live < there), 1)
    return ad.emit(out * scale, behind)


def _read_by_cells(sides: Tensor, cells: int, size: int, ratio: int, aligned: bool) -> Tensor:
    """1 where a position of a line of this size has a weight in a cell of a box; shape (boxes, cells, positions)."""
    start = sides[:, 0] - 0.5 * aligned
    length = (sides[:, 1] - sides[:, 0]).clamp(min=-torch.inf if aligned else 1)
    points = torch.full_like(start, ratio) if ratio > 0 else (length / cells).ceil()
    number = torch.arange(max(1, int(points.max())) if len(points) else 1, device=sides.device)
    inside = torch.arange(cells, device=sides.device)[:, None] + (number + 0.5) / points.clamp(min=1)[:, None, None]
    at = start[:, None, None] + inside * (length / cells)[:, None, None]
    valid = (number < points[:, None, None]) & (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    reads = torch.zeros(*at.shape[:2], size, device=sides.device)
    for tap, weighs in ((at.floor(), valid), (at.ceil(), valid)):
        reads.scatter_reduce_(2, tap.long(), weighs.float(), "amax")
    return reads


@register_rule("torchvision::deform_conv2d")
def deformed_convolution(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    *settings: int,
) -> Tensor:
    """Like a convolution whose taps lie between positions; Φ over the in-bounds neighbors of taps that have a weight.

    Offsets and modulations computed from features are factors of the result: it is dead where they are. Φ is then
    that of windows without offsets, because the positions that are read depend on the values of features: following
    them, a larger mask, which moves the taps, could give a smaller one.
    """
    if any(ad.mask(x) is not None for x in (weight, bias)):
        ad.refuse("has a rule for weights without a mask, but its weight or bias has one")
    steps, pads, gaps = (list(settings[i : i + 2]) for i in (0, 2, 4))
    groups, offset_groups, modulated = settings[6:9]
    own = written_mask(ad, input)
    if own.kept.shape[1] > 1:
        if groups > 1:
            ad.refuse("has groups > 1, and the channels of its input have different masks")
        own = own.map(lambda part: part.any(1, keepdim=True))
    factors = [all_of(written_mask(ad, x), 1) for x in ((offset, mask) if modulated else (offset,)) if ad.is_data(x)]
    moves, offset, mask = ad.is_data(offset), ad.deactivate(offset), ad.deactivate(mask)
    slide = Slide(offset.shape[2:], weight.shape[2:], steps, pads, gaps)
    out = op(ad.window_input(input, slide.reach), weight, offset, mask, bias, *settings)
    windows = slide.windows(input)
    if moves:
        return ad.emit(out, intersection([attribute_positions(own, windows, ad.rule, ad.tau).mask, *factors]))
    kept, features = _count_taps(own, input, offset, slide, offset_groups)
    alive = exceeds(kept, features, ad.tau)
    if ad.rule.growth == "none":
        cell = attribute_positions(own, Windows(windows.covers, windows.covers), MaskRule(), 0.0)
        alive = alive & ((cell.kept > 0) | (cell.features == 0))
    return ad.emit(out, intersection([renewed(alive, features), *factors]))


def _count_taps(mask: PositionMask, x: Tensor, offset: Tensor, slide: Slide, groups: int) -> tuple[Tensor, Tensor]:
    """The number of kept features and of features among the neighbors of all taps."""
    taps = list(itertools.product(*map(range, slide.kernel)))
    shifts = offset.double().unflatten(1, (groups, len(taps), 2))
    lines = [_neighbors(shifts[..., d, :, :], taps, slide, d, x.shape[2 + d]) for d in range(2)]
    (down, tall), (across, wide) = lines
    corners = list(itertools.product(range(2), repeat=2))
    index = torch.stack([down[i] * x.shape[3] + across[j] for i, j in corners], 3)
    weighs = torch.stack([tall[i] & wide[j] for i, j in corners], 3)

    def count(part: Tensor) -> Tensor:
        flat = part.expand(len(x), 1, *x.shape[2:]).flatten(1)
        found = flat.gather(1, index.flatten(1)).reshape(index.shape) & weighs
        return found.sum((1, 2, 3), dtype=torch.float32)[:, None]

    return count(mask.kept), count(mask.everywhere)


def _neighbors(shifts: Tensor, taps: Sequence[Sequence[int]], slide: Slide, d: int, size: int) -> tuple[Tensor, Tensor]:
    """The two positions next to each tap along dimension `d`, and whether they have a weight.

    Both have shape (2, N, groups, taps, ...).
    """
    sides = [1, 1]
    sides[d] = -1
    outputs = torch.arange(slide.sizes[d], device=shifts.device) * slide.steps[d] - slide.padding[d]
    tap = torch.tensor([t[d] for t in taps], device=shifts.device)[:, None, None] * slide.gaps[d]
    at = shifts + tap + outputs.reshape(sides)
    both = torch.stack([at.floor(), at.floor() + 1])
    weighs = ((at - both).abs() < 1) & (both >= 0) & (both < size)
    return both.clamp(0, size - 1).long(), weighs
