"""Reductions over whole dimensions, and softmax along one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import Attribution, reduce_positions
from captum_ad.engine.registry import register_rule
from captum_ad.engine.rules.pooling import over_active


@register_rule("mean")
def mean(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Checkpoint before; over active positions only, if ``average="active"``."""
    return _reduced(ad, op, input, dim, keepdim, kwargs, average=True)


@register_rule("sum", "amax", "amin", "any")
def reduction(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Checkpoint before; what is reduced to one position is active if anything was."""
    return _reduced(ad, op, input, dim, keepdim, kwargs, average=False)


@register_rule("softmax", "log_softmax")
def softmax(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    """Along the channels every position is by itself; along positions there is no rule."""
    mask = ad.mask(input)
    if dim is None:
        ad.refuse("is called without dim")
    if mask is None or mask.kept.shape[dim] > 1:
        ad.refuse("runs along positions of which some are deactivated")
    return ad.emit(op(input, dim, *args, **kwargs), mask)


def _reduced(
    ad: Interpreter,
    op: Callable[..., Tensor],
    x: Tensor,
    dim: int | Sequence[int] | None,
    keepdim: bool,
    kwargs: dict[str, Any],
    average: bool,
) -> Tensor:
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    dims = dims_of(x, dim)
    found, shaped = reduced_mask(ad, x, dims, keepdim)
    out: Tensor = op(ad.deactivate(x), dims, keepdim=True, **kwargs)
    if average and ad.rule.average == "active":
        out = over_active(out, found)
    return ad.emit(shaped(out), found.mask.map(shaped))


def dims_of(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    """The dimensions that are reduced, counted from the first one."""
    given = range(x.dim()) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    return [d % x.dim() for d in given]


def reduced_mask(
    ad: Interpreter, x: Tensor, dims: Sequence[int], keepdim: bool
) -> tuple[Attribution, Callable[[Tensor], Tensor]]:
    """Φ of what is reduced over these dimensions, which it keeps, and what brings it to the shape of the result."""
    mask = ad.mask(x)
    assert mask is not None
    remaining = [d for d in range(1, x.dim()) if d not in dims]
    channel = 1 if 1 in remaining else x.dim() - 1
    positions = [d for d in remaining if d != channel and x.shape[d] > 1]
    # A statistic of the whole map (a vector per sample) has no position of its own: active if anything is.
    found = reduce_positions(mask, x.shape, dims, ad.tau if positions else 0.0)

    def shaped(part: Tensor) -> Tensor:
        return part if keepdim else part.squeeze(list(dims))

    return found, shaped
