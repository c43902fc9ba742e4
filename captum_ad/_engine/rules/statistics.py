"""Statistics over dimensions: extremes with their indices, products, norms, variances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.definitions import renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import sum_of_maps
from captum_ad._engine.rules.pooling import over_active
from captum_ad._engine.rules.reduction import dims_of, reduced_mask

_Dims = int | Sequence[int] | None


@register_rule("max", "min")
def extreme(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, dim: Any = None, keepdim: bool = False, other: Any = None
) -> Any:
    """Of two maps: like their sum. Over a dimension: a checkpoint before; values and indices get the reduced mask."""
    if isinstance(dim, Tensor) or other is not None:
        return sum_of_maps(ad, op, input, dim if other is None else other)
    if dim is None:
        return _reduced(ad, input, dim, False, op)
    found, shaped = reduced_mask(ad, input, dims_of(input, dim), keepdim)
    both = op(ad.deactivate(input), dim, keepdim)
    for part in both:
        ad.emit(part, found.mask.map(shaped))
    return both


@register_rule("argmax", "argmin")
def place_of_extreme(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int | None = None, keepdim: bool = False
) -> Tensor:
    """The indices of :func:`extreme`."""
    return _reduced(ad, input, dim, keepdim, lambda x: op(x, dim, keepdim))


@register_rule("logsumexp")
def logsumexp(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: _Dims, keepdim: bool = False) -> Tensor:
    """The logarithm of a sum; dead positions are left out of it."""
    return _reduced(ad, input, dim, keepdim, lambda x: op(x, dim, keepdim), dead=-math.inf)


@register_rule("all")
def everywhere(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: _Dims = None, keepdim: bool = False
) -> Tensor:
    """Whether all elements that are not deactivated are true."""
    return _reduced(ad, input, dim, keepdim, lambda x: op(x) if dim is None else op(x, dim, keepdim), dead=True)


@register_rule("prod")
def product(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Active where every factor is, because a dead factor is zero."""
    found, shaped = reduced_mask(ad, input, dims_of(input, dim), keepdim and dim is not None)
    over = () if dim is None else (dim, keepdim)
    mask = renewed(found.kept == found.features, found.features)
    return ad.emit(op(ad.deactivate(input), *over, dtype=dtype), mask.map(shaped))


@register_rule("norm", torch.linalg.vector_norm, torch.linalg.norm)
def norm(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    order: Any = "default",
    dim: _Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    **named: Any,
) -> Tensor:
    """The norm of the active elements. Matrix norms other than Frobenius' are refused."""
    order = named.pop("p", named.pop("ord", order))
    if order == "default":
        order = {"norm": "fro", "linalg_vector_norm": 2}.get(op.__name__)
    of_matrices = op is torch.linalg.norm and order not in (None, "fro") and len(dims_of(input, dim)) > 1
    if order == "nuc" or of_matrices or named or out is not None:
        ad.refuse("is a norm of matrices" if out is None else "writes into out=")
    absent = math.inf if isinstance(order, (int, float)) and order < 0 else None  # adds nothing; for others, 0 does not
    return _reduced(ad, input, dim, keepdim, lambda x: op(x, order, dim, keepdim, dtype=dtype), absent)


@register_rule("var", "std", "var_mean", "std_mean")
def spread(
    ad: Interpreter,
    op: Callable[..., Any],
    input: Tensor,
    dim: Any = None,
    unbiased: Any = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """Checkpoint before; with ``average="active"``, over active elements only; a mean with it is like ``mean``."""
    if isinstance(dim, bool):  # x.var(False)
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    dims = dims_of(input, dim)
    found, shaped = reduced_mask(ad, input, dims, keepdim)
    out = op(ad.deactivate(input), dims, correction=correction, keepdim=True)
    spread, *mean = [out] if isinstance(out, Tensor) else out
    if ad.rule.average == "active":
        spread = _over_active(ad, op, spread, input, dims, correction)
        mean = [over_active(part, found) for part in mean]
    emitted = [ad.emit(shaped(part), found.mask.map(shaped)) for part in (spread, *mean)]
    return tuple(emitted) if mean else emitted[0]


def _reduced(
    ad: Interpreter, x: Tensor, dim: _Dims, keepdim: bool, run: Callable[[Tensor], Tensor], dead: float | None = None
) -> Tensor:
    """Emit `run` after a checkpoint, or on `x` with `dead` at its deactivated positions."""
    found, shaped = reduced_mask(ad, x, dims_of(x, dim), keepdim)
    mask = ad.mask(x)
    assert mask is not None
    out = run(ad.deactivate(x) if dead is None else x.masked_fill(mask.dead, dead))
    return ad.emit(out, found.mask.map(shaped))


def _over_active(
    ad: Interpreter, op: Callable[..., Any], spread: Tensor, x: Tensor, dims: list[int], correction: float
) -> Tensor:
    """Turn a variance or deviation over all elements into one over those that are not deactivated."""
    mask, x = ad.mask(x), ad.deactivate(x)
    assert mask is not None
    present = (~mask.dead).expand(x.shape)
    count = present.sum(dims, keepdim=True)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.sum(dims, keepdim=True) / count.clamp(min=1)
    squares = (wide - mean).masked_fill(~present, 0).square().sum(dims, keepdim=True)
    variance = squares / (count - correction).clamp(min=1)
    if "std" in op.__name__:
        variance = variance.where(variance > 0, 1).sqrt().where(variance > 0, 0)  # sqrt has an infinite slope at 0
    whole = count == math.prod(x.shape[d] for d in dims)
    return spread.where(whole, variance.to(spread.dtype))
