"""Normalisation: affine per position, or over space, which averages over data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.registry import register_rule


@register_rule(F.batch_norm)
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
    """With stored statistics, an affine map per channel; in training, statistics of a checkpoint."""
    ad.only(input)
    x = ad.deactivate(input) if training or running_mean is None else input
    mask = ad.mask(input)
    return ad.emit(op(x, running_mean, running_var, weight, bias, training, *args, **kwargs), mask)


@register_rule(F.local_response_norm)
def local_response_norm(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Over neighbouring channels of one position."""
    mask = ad.mask(input)
    return ad.emit(op(ad.deactivate(input), *args, **kwargs), mask)


@register_rule(F.layer_norm)
def layer_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Over channels, per position; over positions, after a checkpoint."""
    ad.only(input)
    mask = ad.mask(input)
    assert mask is not None
    dims = list(range(input.dim() - len(normalized_shape), input.dim()))
    if all(mask.kept.shape[d] == 1 for d in dims) and mask.feature is None:
        return ad.emit(op(input, normalized_shape, weight, bias, eps), mask)
    x = ad.deactivate(input)
    if ad.rule.average == "all":
        return ad.emit(op(x, normalized_shape, weight, bias, eps), mask)
    out = _standardized(x, (~mask.dead).expand(x.shape), dims, eps)
    out = out if weight is None else out * weight
    return ad.emit(out if bias is None else out + bias, mask)


@register_rule("rms_norm")
def rms_norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """As :func:`layer_norm`, without a mean."""
    ad.only(input)
    mask = ad.mask(input)
    assert mask is not None
    dims = list(range(input.dim() - len(normalized_shape), input.dim()))
    if all(mask.kept.shape[d] == 1 for d in dims) and mask.feature is None:
        return ad.emit(op(input, normalized_shape, weight, eps), mask)
    x = ad.deactivate(input)
    if ad.rule.average == "all":
        return ad.emit(op(x, normalized_shape, weight, eps), mask)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = (~mask.dead).expand(x.shape).sum(dims, keepdim=True, dtype=torch.float32).clamp(min=1)
    smallest = torch.finfo(x.dtype).eps if eps is None else eps
    out = (wide * (wide.square().sum(dims, keepdim=True) / count + smallest).rsqrt()).to(x.dtype)
    return ad.emit(out if weight is None else out * weight, mask)


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
    """Statistics over the channels of a group and over space, after a checkpoint."""
    ad.only(input)
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    if ad.rule.average == "all":
        return ad.emit(op(x, num_groups, weight, bias, eps), mask)
    grouped = x.unflatten(1, (num_groups, -1))
    kept = (~mask.dead).expand(x.shape).unflatten(1, (num_groups, -1))
    out = _standardized(grouped, kept, list(range(2, grouped.dim())), eps).flatten(1, 2)
    return ad.emit(_affine(out, weight, bias), mask)


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
    """Statistics over space, after a checkpoint; with stored statistics, an affine map."""
    ad.only(input)
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    if ad.rule.average == "all" or not use_input_stats:
        out = op(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
        return ad.emit(out, mask)
    out = _standardized(x, (~mask.dead).expand(x.shape), list(range(2, x.dim())), eps)
    return ad.emit(_affine(out, weight, bias), mask)


def _standardized(x: Tensor, kept: Tensor, dims: list[int], eps: float) -> Tensor:
    """(x - mean) / std over the elements that are not deactivated; computed in float32 at least."""
    dtype, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
    count = kept.sum(dims, keepdim=True, dtype=torch.float32).clamp(min=1)
    centred = x - x.masked_fill(~kept, 0).sum(dims, keepdim=True) / count
    variance = centred.masked_fill(~kept, 0).square().sum(dims, keepdim=True) / count
    standardized: Tensor = centred / (variance + eps).sqrt()
    return standardized.to(dtype)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Scale and shift per channel (dimension 1)."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)
