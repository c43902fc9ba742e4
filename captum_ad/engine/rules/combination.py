"""Operations on several maps: sums, products, concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask, constant_mask, exceeds, full_mask, renewed
from captum_ad.engine.registry import is_in_place, register_rule


@register_rule("add", "sub", "subtract", "rsub", "maximum", "minimum")
def sum_of_maps(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any, **kwargs: Any) -> Tensor:
    """Φ over the contributions; a dead contribution is zero. Constants contribute no features."""
    masks = _masks(ad, x, other)
    same = all(mask is masks[0] for mask in masks)
    clean = len(masks) == 2 and all(ad.is_clean(operand) for operand in (x, other))
    statistic = _statistic(ad, x, other)
    if statistic is not None:
        x, other = (ad.deactivate(operand) if operand is statistic else operand for operand in (x, other))
    elif not same and ad.rule.sum == "union":
        x, other = _deactivated(ad, op, x), ad.deactivate(other) if isinstance(other, Tensor) else other
        clean = ad.tau < 0.5  # from then on a live contribution may stand at a dead position
    out = op(x, other, **kwargs)
    masks = [_aligned(mask, out.dim()) for mask in masks]
    if same:
        return ad.emit(out, masks[0], clean=clean)
    kept, features = _contributions(*masks)
    alive = exceeds(kept, features, ad.tau) if ad.rule.sum == "union" else kept == features
    return ad.emit(out, renewed(alive, features), clean=clean and ad.rule.sum == "union")


@register_rule("mul", "multiply", "div", "divide", "true_divide", "truediv")
def product_of_maps(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any, **kwargs: Any) -> Tensor:
    """Active where every factor is: a dead factor is zero."""
    factors = [x, other]
    if (statistic := _statistic(ad, x, other)) is not None and ad.mask(statistic) is not None:
        masks = [written_mask(ad, factor) for factor in factors]
    else:
        masks = _masks(ad, *factors)
    out = op(x, other, **kwargs)
    masks = [_aligned(mask, out.dim()) for mask in masks]
    if all(mask is masks[0] for mask in masks):
        return ad.emit(out, masks[0])
    kept, features = _contributions(*masks)
    return ad.emit(out, renewed(kept == features, features))


@register_rule("cat", "concat", "concatenate", always=True)
def concatenation(
    ad: Interpreter, op: Callable[..., Tensor], tensors: Sequence[Tensor], dim: int = 0, **kwargs: Any
) -> Tensor:
    """Masks side by side; constants are no features."""
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    out = op(tensors, dim, **kwargs)
    joined = [tensor for tensor in tensors if tensor.dim() == out.dim()]  # torch skips tensors of shape (0,)
    masks, clean = [_own_mask(ad, tensor) for tensor in joined], all(ad.is_clean(tensor) for tensor in joined)
    return ad.emit(out, _side_by_side(masks, [t.shape[dim] for t in joined], dim), clean=clean)


@register_rule("stack", always=True)
def stacking(
    ad: Interpreter, op: Callable[..., Tensor], tensors: Sequence[Tensor], dim: int = 0, **kwargs: Any
) -> Tensor:
    """Masks side by side along a new dimension."""
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    masks, clean = [_own_mask(ad, tensor) for tensor in tensors], all(ad.is_clean(tensor) for tensor in tensors)
    out = op(tensors, dim, **kwargs)
    masks = [mask and mask.map(lambda part: part.unsqueeze(dim)) for mask in masks]
    return ad.emit(out, _side_by_side(masks, [1] * len(tensors), dim), clean=clean)


def _masks(ad: Interpreter, *operands: Any) -> list[FeatureMask]:
    """Masks of the operands that hold features at positions."""
    statistic = _statistic(ad, *operands)
    holders = [operand for operand in operands if ad.is_data(operand) and operand is not statistic]
    return [written_mask(ad, operand) for operand in holders]


def _statistic(ad: Interpreter, *operands: Any) -> Tensor | None:
    """The operand, if any, that has one value (or one vector of channels) for all positions of the other.

    A gate or a pooled vector has no position of its own: it neither revives a dead position of the
    other operand nor counts as a contribution there.
    """
    data = [operand for operand in operands if ad.is_data(operand)]
    if len(data) != 2 or data[0].dim() != data[1].dim():
        return None
    for x, other in (data, reversed(data)):
        dims = ad.positions(x)
        wide = [d for d in dims if other.shape[d] > 1]
        spread = [d for d in dims if x.shape[d] > other.shape[d]]
        if spread and (not wide or wide in ([1], [x.dim() - 1])):
            found: Tensor = other
            return found
    return None


def written_mask(ad: Interpreter, x: Tensor) -> FeatureMask:
    """Like `ad.mask`, but what is kept whole has a mask too, and so have constants: they hold no features."""
    return _own_mask(ad, x) or full_mask(x)


def _own_mask(ad: Interpreter, x: Tensor) -> FeatureMask | None:
    return ad.mask(x) if ad.is_data(x) else constant_mask(x)


def _deactivated(ad: Interpreter, op: Callable[..., Tensor], x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    if not is_in_place(op):
        return ad.deactivate(x)
    ad.deactivate_(x)
    return x


def _contributions(*masks: FeatureMask) -> tuple[Tensor, Tensor]:
    """How many operands are kept features, and features, at each position."""
    kept = torch.stack(torch.broadcast_tensors(*(mask.kept for mask in masks))).sum(0, dtype=torch.float32)
    there = torch.stack(torch.broadcast_tensors(*(mask.everywhere for mask in masks))).sum(0, dtype=torch.float32)
    return kept, there


def _side_by_side(masks: Sequence[FeatureMask | None], lengths: Sequence[int], dim: int) -> FeatureMask | None:
    if all(mask is None for mask in masks):
        return None
    known = next(mask for mask in masks if mask is not None)
    if all(mask is known for mask in masks) and known.kept.shape[dim] == 1 and known.feature is None:
        return known
    full = FeatureMask(torch.ones_like(known.kept).narrow(dim, 0, 1))
    written = [mask or full for mask in masks]
    kept = _joined([mask.kept for mask in written], lengths, dim)
    if all(mask.feature is None for mask in written):
        return FeatureMask(kept)
    return FeatureMask(kept, _joined([mask.everywhere for mask in written], lengths, dim))


def _joined(parts: Sequence[Tensor], lengths: Sequence[int], dim: int) -> Tensor:
    sizes = [max(part.shape[d] for part in parts) for d in range(parts[0].dim())]

    def grown(part: Tensor, length: int) -> Tensor:
        target = list(sizes)
        target[dim] = length
        return part.expand(target)

    return torch.cat([grown(part, length) for part, length in zip(parts, lengths)], dim)


def _aligned(mask: FeatureMask, dims: int) -> FeatureMask:
    """Leading dimensions added, as broadcasting does; the same object if there are none to add."""
    missing = dims - mask.kept.dim()
    return mask if missing == 0 else mask.map(lambda part: part[(None,) * missing])
