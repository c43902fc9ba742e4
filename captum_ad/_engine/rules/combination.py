"""Operations on several maps: sums, products, concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_true, constant_mask, full_mask
from captum_ad._engine.merging import is_statistic_of
from captum_ad._engine.registry import is_in_place, register_rule, takes_parts
from captum_ad._engine.rules.combined_masks import aligned, alike, intersection, side_by_side, sum_of_unlike


@register_rule(
    "add", "sub", "subtract", "rsub", "maximum", "minimum", "fmax", "fmin", "gt", "greater", "lt", "less",
    "ne", "not_equal", "logical_or", "logical_xor", "bitwise_or", "bitwise_xor", "or", "xor",
    "gcd", "nextafter", "complex",
)  # fmt: skip
@takes_parts
def sum_of_maps(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any, **kwargs: Any) -> Tensor:
    """M' = 1(Φ > τ) with Φ over the operands; a dead operand counts as zero. Constants contribute no features.

    Comparisons are treated like a difference, "or" like a maximum.
    """
    whole = kwargs.get("out") is not None
    return sum_of(ad, op, (x, other), lambda *operands: op(*operands, **kwargs), zero_stays_zero=True, whole=whole)


@register_rule("eq", "ge", "greater_equal", "le", "less_equal", "logaddexp", "logaddexp2", "isclose")
def sum_of_maps_not_zero(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any, **kwargs: Any) -> Tensor:
    """Like :func:`sum_of_maps`, for operations that are not zero where both operands are zero."""
    whole = kwargs.get("out") is not None
    return sum_of(ad, op, (x, other), lambda *operands: op(*operands, **kwargs), zero_stays_zero=False, whole=whole)


@register_rule("clamp", "clip", "clamp_min", "clamp_max")
def clamp(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *bounds: Any, **named: Any) -> Tensor:
    """Like :func:`sum_of_maps`: a bound that is a map contributes; numbers and constants do not."""
    if not named.keys() <= {"min", "max"}:
        ad.refuse(f"has a rule for the arguments min and max only, got {sorted(named)}")

    def run(x: Tensor, *values: Any) -> Tensor:
        return op(x, *values[: len(bounds)], **dict(zip(named, values[len(bounds) :])))

    return sum_of(ad, op, (x, *bounds, *named.values()), run, zero_stays_zero=False, whole=True)


@register_rule(
    "mul", "multiply", "div", "divide", "true_divide", "truediv", "floor_divide", "floordiv", "fmod", "remainder",
    "mod", "atan2", "arctan2", "copysign", "heaviside", "xlogy", "logical_and", "bitwise_and", "and",
    "lcm", "ldexp", "polar", "xlog1py", "bitwise_left_shift", "bitwise_right_shift", "lshift", "rshift",
)  # fmt: skip
@takes_parts
def product_of_maps(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any, **kwargs: Any) -> Tensor:
    """Active where every factor is, because a dead factor is zero. The same for quotients and remainders.

    Where a constant factor is zero the result is not a feature, but a dead position stays dead, as with
    ``torch.where`` between the map and zero.
    """
    factors = [x, other]
    zero = _zeros(ad, op, x, other)
    mask = intersection([aligned(mask, dims_of_result(x, other)) for mask in masks_of(ad, *factors)])
    for statistic in _statistics(ad, x, other):
        own = ad.mask(statistic)
        if own is not None:  # a dead statistic makes everything it is multiplied with dead; a live one adds nothing
            dead = aligned(own, dims_of_result(x, other)).dead
            feature = None if mask.feature is None else mask.feature | dead
            feature = None if feature is None or all_true(feature) else feature
            mask = PositionMask(mask.kept & ~dead, feature).put_in_box([mask])
    if zero is not None:
        mask = PositionMask(mask.kept & ~zero, mask.everywhere & (mask.dead | ~zero))
    if torch.is_grad_enabled():
        x, other = _apart_from_zero(ad, op, x, other)
    if kwargs.get("out") is not None:
        ad.complete()
        return ad.emit(op(x, other, **kwargs), mask)
    return ad.by_position(lambda x, other: op(x, other, **kwargs), [x, other], mask)


def dims_of_result(*operands: Any) -> int:
    """The number of dimensions of the broadcast result."""
    return max(operand.dim() for operand in operands if isinstance(operand, Tensor))


def _zeros(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any) -> Tensor | None:
    """Where a constant factor is zero, if it differs from position to position; else None."""
    if "mul" not in op.__name__ and "and" not in op.__name__:
        return None
    for constant, of in ((x, other), (other, x)):
        axes = ad.axes(of)
        if axes is not None and isinstance(constant, Tensor) and not ad.is_data(constant):
            differs = any(-dim <= constant.dim() and constant.shape[dim] > 1 for dim in axes.positions)
            zero = constant == 0
            return zero if differs and bool(zero.any()) else None
    return None


def _apart_from_zero(ad: Interpreter, op: Callable[..., Tensor], x: Any, other: Any) -> tuple[Any, Any]:
    """The operands, with 1 at dead positions where a quotient or power at 0 would have the gradient 0 · ∞ = NaN."""
    name = op.__name__
    if ("div" in name or "mod" in name or name in ("remainder", "xlogy")) and not name.startswith("__r"):
        return x, _ones_where_dead(ad, other)
    if "div" in name or ("pow" in name and not is_in_place(op)):
        return _ones_where_dead(ad, x), other
    return x, other


def _ones_where_dead(ad: Interpreter, x: Any) -> Any:
    mask = ad.mask(x)
    return x if mask is None else x.masked_fill(mask.dead, 1)


@register_rule("pow", "float_power")
def power(ad: Interpreter, op: Callable[..., Tensor], x: Any, exponent: Any, **kwargs: Any) -> Tensor:
    """Like :func:`product_of_maps`."""
    return product_of_maps(ad, op, x, exponent, **kwargs)


@register_rule("lerp")
def lerp(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, end: Tensor, weight: Any) -> Tensor:
    """The sum of a map and a product: x + weight · (end − x)."""
    return ad.follow(lambda: _add(op)(x, weight * (end - x)))


@register_rule("addcmul")
def addcmul(
    ad: Interpreter, op: Callable[..., Tensor], x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1
) -> Tensor:
    """The sum of a map and a product: the mask from these two steps, the values from one call, which rounds once."""
    found = ad.follow(lambda: _add(op)(x, tensor1 * tensor2, alpha=value))
    if is_in_place(op):
        return found
    operands = [ad.deactivate(operand) if ad.is_data(operand) else operand for operand in (x, tensor1, tensor2)]
    return ad.emit(op(*operands, value=value), ad.mask(found))


@register_rule("addcdiv")
def addcdiv(
    ad: Interpreter, op: Callable[..., Tensor], x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1
) -> Tensor:
    """The sum of a map and a quotient."""
    return ad.follow(lambda: _add(op)(x, tensor1 / tensor2, alpha=value))


def _add(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return Tensor.add_ if is_in_place(op) else Tensor.add


@register_rule("cat", "concat", "concatenate", always=True)
@takes_parts
def concatenation(
    ad: Interpreter, op: Callable[..., Tensor], tensors: Sequence[Tensor], dim: int = 0, **kwargs: Any
) -> Tensor:
    """Masks side by side; constants are not features."""
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    joined = [tensor for tensor in tensors if tensor.dim() == max(t.dim() for t in tensors)]  # torch skips shape (0,)
    masks, clean = [_own_mask(ad, tensor) for tensor in joined], all(ad.is_clean(tensor) for tensor in joined)
    mask = side_by_side(masks, [t.shape[dim] for t in joined], dim)
    first, dim = joined[0], dim % joined[0].dim()
    if mask is not None and all(masks):
        mask.put_in_box([one for one in masks if one], lambda box: box.along(set(box.sides) - {dim}))
    shape = (*first.shape[:dim], sum(t.shape[dim] for t in joined), *first.shape[dim + 1 :])
    if len(joined) < len(tensors):
        ad.complete()
        return ad.emit(op(tensors, dim, **kwargs), mask, clean=clean)
    return ad.by_position(lambda *parts: op(parts, dim), tensors, mask, clean=clean, shape=shape, mixed=[dim])


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
    return ad.emit(out, side_by_side(masks, [1] * len(tensors), dim), clean=clean)


def sum_of(
    ad: Interpreter,
    op: Callable[..., Any],
    operands: Sequence[Any],
    run: Callable[..., Tensor],
    zero_stays_zero: bool,
    whole: bool = False,
) -> Tensor:
    """Emit `run` of these operands (maps, constants, numbers) with the mask of their sum.

    `zero_stays_zero`: the result is zero where all operands are; `whole`: do not compute it by parts.
    """
    maps = [o for o in operands if isinstance(o, Tensor) and ad.is_data(o)]
    clean = zero_stays_zero and len(maps) == len(operands) and all(map(ad.is_clean, maps))
    masks = masks_of(ad, *operands)
    same = alike(masks)
    dims = dims_of_result(*operands)
    mask = aligned(masks[0], dims) if same else sum_of_unlike(ad, [aligned(mask, dims) for mask in masks])
    if len(masks) < len(operands):
        clean = False
    elif not same:  # with an intersection or τ > 0, a live contribution may be at a position that is dead in the sum
        zeros = all(mask.feature is None for mask in masks)  # otherwise a constant may be at a dead position
        clean = zero_stays_zero and zeros and ad.rule.sum == "union" and ad.tau < 1 / len(operands)
        clean = clean and all(ad.mask(x) is not mask or ad.is_clean(x) for x in maps)
    checked = contributing(ad, operands, masks, mask, same)
    if not whole:
        return ad.by_position(run, operands, mask, checked=checked, clean=clean, in_place=is_in_place(op))
    ad.complete()
    return ad.emit(run(*[ad.deactivate(x) if any(x is c for c in checked) else x for x in operands]), mask, clean=clean)


def contributing(
    ad: Interpreter,
    operands: Sequence[Any],
    masks: Sequence[PositionMask],
    result: PositionMask | None = None,
    same: bool | None = None,
) -> list[Tensor]:
    """The operands of a sum that need a checkpoint because their dead positions would reach live ones of the result.

    `masks` are those of :func:`masks_of`. An operand whose mask is the mask of the sum (`result`, the same object)
    needs none. `same`: whether the masks are equal, if that is known.
    """
    if ad.rule.sum == "union" and not (alike(masks) if same is None else same):
        return [x for x in operands if isinstance(x, Tensor) and (result is None or ad.mask(x) is not result)]
    return _statistics(ad, *operands)


def masks_of(ad: Interpreter, *operands: Any) -> list[PositionMask]:
    """The masks of the operands that hold features at positions: neither constants nor statistics."""
    statistics = _statistics(ad, *operands)
    data = [operand for operand in operands if ad.is_data(operand)]
    holders = [operand for operand in data if not any(operand is statistic for statistic in statistics)]
    return [written_mask(ad, operand) for operand in holders]


def _statistics(ad: Interpreter, *operands: Any) -> list[Tensor]:
    """The operands that have one value (or one vector of channels) for all positions of another operand."""
    maps = [operand for operand in operands if ad.is_data(operand)]
    found: list[Tensor] = []
    for x in reversed(maps):
        if any(_is_statistic_of(ad, x, other) for other in maps if other is not x):
            found.append(x)
            maps = [other for other in maps if other is not x]
    return found


def _is_statistic_of(ad: Interpreter, x: Tensor, other: Tensor) -> bool:
    own, others = ad.axes(x), ad.axes(other)
    found = is_statistic_of(own, others) if own is not None and others is not None else False
    if found is None and (ad.mask(x) is not None or ad.mask(other) is not None):
        ad.refuse("has an operand that may hold positions or one value for all positions, and it is unclear which")
    return bool(found)


def written_mask(ad: Interpreter, x: Tensor) -> PositionMask:
    """Like ``ad.mask``, but never None: a full mask if everything is kept, a mask without features for constants."""
    return _own_mask(ad, x) or full_mask(x)


def _own_mask(ad: Interpreter, x: Tensor) -> PositionMask | None:
    return ad.mask(x) if ad.is_data(x) else constant_mask(x)
