"""Operations that select elements: by a condition, by constant indices, or by windows (im2col)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.definitions import renewed_mask
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_true, constant_mask
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import contributing, masks_of, written_mask
from captum_ad._engine.rules.combined_masks import aligned, intersection, sum_mask, summed
from captum_ad._engine.rules.pooling import sliding
from captum_ad._engine.rules.shape import move, select
from captum_ad._engine.rules.windows import Setting

register_rule("rot90", "fliplr", "flipud")(move)
register_rule("diagonal", Tensor.unfold)(select)


@register_rule("where")
def where(ad: Interpreter, op: Callable[..., Any], *operands: Any) -> Any:
    """With a constant condition, the same selection from the masks; with one from features, it is a factor, too.

    A constant is not a feature, but a dead position stays dead where a constant zero replaces it.
    """
    if len(operands) == 1:
        ad.refuse("returns indices, which no mask can follow")
    x, condition, other = operands if op is Tensor.where else (operands[1], operands[0], operands[2])
    return _chosen(ad, condition, x, other, lambda x, other: torch.where(condition, x, other))


@register_rule("masked_fill")
def masked_fill(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Like :func:`where`; the value is not a feature."""
    if ad.is_data(value):
        ad.refuse("fills in a value that is computed from features")
    return _chosen(ad, mask, value, x, lambda value, x: op(x, mask, value))


@register_rule("gather", "take_along_dim")
def gather(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *where: Any, **named: Any) -> Tensor:
    """The mask is gathered like its tensor; indices must be constants."""
    if any(ad.is_data(index) for index in (*where, *named.values())):
        ad.refuse("picks by indices that are computed from features")
    if "out" in named or "sparse_grad" in named:
        ad.refuse("was called with out= or sparse_grad=")
    moved: Tensor = move(ad, op, x, *where, **named)
    return moved


@register_rule(F.unfold)
def unfold(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    kernel_size: Setting,
    dilation: Setting = 1,
    padding: Setting = 0,
    stride: Setting = 1,
) -> Tensor:
    """Checkpoint before; the mask is unfolded like its tensor (im2col), and padding is not a feature.

    Without growth, a window that covers no active position is dead as a whole, as in a convolution.
    """
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    settings = kernel_size, dilation, padding, stride

    def laid_out(part: Tensor) -> Tensor:
        return op(part.expand(x.shape).float(), *settings).bool()

    kept, feature = laid_out(mask.kept), laid_out(mask.everywhere)
    grown = ad.rule.growth == "window"
    if not grown:
        slide = sliding(2, x, kernel_size, stride, padding, dilation, False)
        covered = renewed_mask(mask, slide.windows(x), ad.rule, tau=0.0).kept.flatten(-2)
        kept = kept & covered.expand(*x.shape[:-2], -1).repeat_interleave(math.prod(slide.kernel), -2)
    laid = PositionMask(kept, None if all_true(feature) else feature)
    return ad.emit(op(x, *settings), laid, clean=grown)


@register_rule(F.fold)
def fold(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Checkpoint before; overlapping windows are summed (col2im): Φ over the contributions, as in a sum of maps."""
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    kept, features = (op(part.expand(x.shape).float(), *args, **kwargs) for part in (mask.kept, mask.everywhere))
    return ad.emit(op(x, *args, **kwargs), summed(ad, kept, features))


@register_rule("glu")
def glu(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, dim: int = -1) -> Tensor:
    """The product of one half of the channels and a function of the other half: active where both are."""
    mask = ad.mask(x)
    assert mask is not None
    out = op(x, dim)
    if mask.kept.shape[dim] == 1:
        return ad.emit(out, mask)
    half = x.shape[dim] // 2
    halves = [mask.map(lambda part, start=start: part.narrow(dim, start, half)) for start in (0, half)]  # type: ignore[misc]
    return ad.emit(out, intersection(halves))


def _chosen(ad: Interpreter, condition: Tensor, x: Any, other: Any, run: Callable[[Any, Any], Tensor]) -> Tensor:
    """Emit `x` where the condition holds and `other` elsewhere, as computed by `run`."""
    if not ad.is_data(condition):
        clean = all(ad.is_clean(part) for part in (x, other) if isinstance(part, Tensor))
        out = run(x, other)
        kept, feature = (
            torch.where(condition, one, two) for one, two in zip(_parts(ad, x, out), _parts(ad, other, out))
        )
        for own, constant, where_constant in ((x, other, ~condition), (other, x, condition)):
            if ad.is_data(own) and not ad.is_data(constant):
                feature = feature | (written_mask(ad, own).dead & where_constant & (constant == 0))
        mask = PositionMask(kept, None if all_true(feature) else feature)
        return ad.emit(out, aligned(mask, out.dim()), clean=clean)
    factor = written_mask(ad, condition)
    masks = masks_of(ad, x, other)
    checked = contributing(ad, (x, other), masks)
    out = run(*(ad.deactivate(one) if any(one is c for c in checked) else one for one in (x, other)))
    chosen = [sum_mask(ad, [aligned(mask, out.dim()) for mask in masks])] if masks else []
    return ad.emit(out, intersection([aligned(factor, out.dim()), *chosen]))


def _parts(ad: Interpreter, x: Any, out: Tensor) -> Sequence[Tensor]:
    """Where an operand has kept features, and where it has features; a number has none."""
    mask = written_mask(ad, x) if isinstance(x, Tensor) else constant_mask(out.new_empty(()))
    return mask.kept, mask.everywhere
