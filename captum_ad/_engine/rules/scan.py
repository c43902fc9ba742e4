"""Cumulative operations along a dimension: each position is computed from itself and those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.definitions import Windows, attribute_positions, renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import is_in_place, register_rule
from captum_ad._engine.rules.ordering import refuse_samples
from captum_ad._engine.tags import tensors_in


@register_rule("cumsum", "cummax", "cummin")
def running(ad: Interpreter, op: Callable[..., Any], input: Tensor, dim: int, **dtype: Any) -> Any:
    """Checkpoint before; Φ over the positions so far. Values and indices get the same mask."""
    mask, out = so_far(ad, input, dim), _run(ad, op, input, dim, dtype)
    for part in tensors_in(out):
        ad.emit(part, mask)
    return out


@register_rule("cumprod")
def running_product(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int, **dtype: Any) -> Tensor:
    """Active until the first dead factor, which is zero."""
    mask = ad.mask(input)
    assert mask is not None
    refuse_samples(ad, input, dim)
    if mask.kept.shape[dim] > 1:
        missing = mask.dead.cumsum(dim) > 0
        mask = renewed(~missing, mask.everywhere.cumsum(dim))
    out: Tensor = _run(ad, op, input, dim, dtype)
    return ad.emit(out, mask)


@register_rule("logcumsumexp")
def running_logsumexp(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int) -> Tensor:
    """The logarithm of a cumulative sum; dead positions are left out of it."""
    mask = ad.mask(input)
    assert mask is not None
    nothing = torch.finfo(input.dtype).min / 4  # with -inf and nothing else, the gradient would be NaN
    return ad.emit(op(input.masked_fill(mask.dead, nothing), dim), so_far(ad, input, dim))


def so_far(ad: Interpreter, x: Tensor, dim: int) -> PositionMask:
    """The mask of a result whose positions are each computed from themselves and all positions before them.

    For a vector without positions: active if anything so far is.
    """
    mask = ad.mask(x)
    assert mask is not None
    refuse_samples(ad, x, dim)
    if mask.kept.shape[dim] == 1:
        return mask
    steps, vector = x.shape[dim], ad.is_statistic(x)
    itself = torch.eye(steps, device=x.device) * (not vector)
    windows = Windows([torch.ones(steps, steps, device=x.device).tril()], [itself])
    last = mask.map(lambda part: part.transpose(dim, -1))
    found = attribute_positions(last, windows, ad.rule, 0.0 if vector else ad.tau).mask
    return found.map(lambda part: part.transpose(dim, -1))


def _run(ad: Interpreter, op: Callable[..., Any], x: Tensor, dim: int, dtype: dict[str, Any]) -> Any:
    if dtype.keys() - {"dtype"}:
        ad.refuse("writes into out=")
    return op((ad.deactivate_ if is_in_place(op) else ad.deactivate)(x), dim, **dtype)
