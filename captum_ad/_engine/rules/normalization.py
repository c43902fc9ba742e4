"""Normalization: affine maps per position, or statistics over space, which need a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import register_rule, takes_parts
from captum_ad._engine.rules.reduction import dims_of


@register_rule(F.batch_norm)
@takes_parts
def batch_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """With stored statistics, an affine map per channel; in training, a checkpoint before the statistics."""
    ad.only(input)
    mask = ad.mask(input)

    def run(x: Tensor) -> Tensor:
        return op(x, running_mean, running_var, weight, bias, training, *args, **kwargs)

    if running_mean is None or training:
        return ad.emit(run(ad.deactivate(input)), mask)
    return ad.by_position(run, [input], mask, mixed=[1])


@register_rule(F.local_response_norm)
def local_response_norm(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Checkpoint before; normalizes over neighboring channels of one position, so the mask stays."""
    mask = ad.mask(input)
    return ad.emit(op(ad.deactivate(input), *args, **kwargs), mask)


@register_rule(F.layer_norm)
@takes_parts
def layer_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Over channels: each position by itself. Over positions: a checkpoint before."""
    ad.only(input)
    mask, dims = ad.mask(input), _last(input, normalized_shape)

    def run(x: Tensor) -> Tensor:
        return op(x, normalized_shape, weight, bias, eps)

    if mask is None or all(mask.kept.shape[d] == 1 for d in dims):
        return ad.by_position(run, [input], mask, mixed=dims)
    x = ad.deactivate(input)
    over_all = run(x)
    if ad.rule.average == "all":
        return ad.emit(over_all, mask)
    present = (~mask.dead).expand(x.shape)
    out = _standardized(x, present, dims, eps)
    out = out if weight is None else out * weight
    out = out if bias is None else out + bias
    return ad.emit(over_all.where(_is_whole(present, dims), out), mask)


@register_rule("rms_norm")
@takes_parts
def rms_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Like :func:`layer_norm`, without subtracting the mean."""
    ad.only(input)
    mask, dims = ad.mask(input), _last(input, normalized_shape)

    def run(x: Tensor) -> Tensor:
        return op(x, normalized_shape, weight, eps)

    if mask is None or all(mask.kept.shape[d] == 1 for d in dims):
        return ad.by_position(run, [input], mask, mixed=dims)
    x = ad.deactivate(input)
    if ad.rule.average == "all":
        return ad.emit(run(x), mask)
    present = (~mask.dead).expand(x.shape)
    size, count = math.prod(normalized_shape), present.sum(dims, keepdim=True, dtype=torch.float32).clamp(min=1)
    scale = (size / count).sqrt().to(x.dtype)  # turns the mean square over all into that over active elements
    return ad.emit(run(x * scale) / scale, mask)


def _last(x: Tensor, normalized_shape: Sequence[int]) -> list[int]:
    return list(range(x.dim() - len(normalized_shape), x.dim()))


@register_rule(F.normalize)
def normalize(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    p: float = 2.0,
    dim: int | Sequence[int] = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """Division by a norm. Over channels: each position by itself. Over positions: a checkpoint before."""
    if out is not None:
        ad.refuse("writes into out=")
    mask = ad.mask(input)
    assert mask is not None
    by_position = all(mask.kept.shape[d] == 1 for d in dims_of(input, dim))
    if p < 0 and not by_position:
        ad.refuse(f"has p={p}, a norm that zeros would change (p >= 0 has a rule)")
    x = input if by_position else ad.deactivate(input)
    return ad.emit(op(x, p, dim, eps), mask, clean=ad.is_clean(input))


@register_rule(F.group_norm)
def group_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Checkpoint before; statistics over the channels of a group and over space."""
    ad.only(input)
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    over_all = op(x, num_groups, weight, bias, eps)
    if ad.rule.average == "all":
        return ad.emit(over_all, mask)
    grouped = x.unflatten(1, (num_groups, -1))
    present = (~mask.dead).expand(x.shape).unflatten(1, (num_groups, -1))
    dims = list(range(2, grouped.dim()))
    out = _affine(_standardized(grouped, present, dims, eps).flatten(1, 2), weight, bias)
    whole = _is_whole(present, dims).expand(grouped.shape).flatten(1, 2)
    return ad.emit(over_all.where(whole, out), mask)


@register_rule(F.instance_norm)
def instance_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Checkpoint before; statistics over space, or an affine map with stored statistics."""
    ad.only(input)
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    over_all = op(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if ad.rule.average == "all" or not use_input_stats:
        return ad.emit(over_all, mask)
    present, dims = (~mask.dead).expand(x.shape), list(range(2, x.dim()))
    out = _affine(_standardized(x, present, dims, eps), weight, bias)
    return ad.emit(over_all.where(_is_whole(present, dims), out), mask)


def _is_whole(present: Tensor, dims: list[int]) -> Tensor:
    """Where nothing is deactivated: there the result of torch's kernel is used, bit for bit."""
    absent: Tensor = ~present
    return ~absent.sum(dims, keepdim=True).bool()


def _standardized(x: Tensor, present: Tensor, dims: list[int], eps: float) -> Tensor:
    """(x - mean) / std over the elements that are not deactivated; computed in float32 or wider."""
    dtype, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
    count = present.sum(dims, keepdim=True, dtype=torch.float32).clamp(min=1)
    centered = x - x.masked_fill(~present, 0).sum(dims, keepdim=True) / count
    variance = centered.masked_fill(~present, 0).square().sum(dims, keepdim=True) / count
    standardized: Tensor = centered / (variance + eps).sqrt()
    return standardized.to(dtype)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Scale and shift per channel (dimension 1)."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)
