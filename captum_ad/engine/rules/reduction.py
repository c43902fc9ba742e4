"""Reductions over whole dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import reduce_positions
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


@register_rule("sum", "amax", "amin")
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


def _reduced(
    ad: Interpreter,
    op: Callable[..., Tensor],
    x: Tensor,
    dim: int | Sequence[int] | None,
    keepdim: bool,
    kwargs: dict[str, Any],
    average: bool,
) -> Tensor:
    mask = ad.mask(x)
    assert mask is not None
    given = range(x.dim()) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    dims = [d % x.dim() for d in given]
    out: Tensor = op(ad.deactivate(x), dims, keepdim=True, **kwargs)
    remaining = [d for d in ad.positions(x) if d not in dims]
    channel = 1 if 1 in remaining else x.dim() - 1
    positions = [d for d in remaining if d != channel and x.shape[d] > 1]
    # A statistic of the whole map (a vector per sample) has no position of its own: active if anything is.
    found = reduce_positions(mask, x.shape, dims, ad.tau if positions else 0.0)
    if average and ad.rule.average == "active":
        out = over_active(out, found)

    def shaped(part: Tensor) -> Tensor:
        return part if keepdim else part.squeeze(dims)

    samples = ad.samples(x)
    if samples and not keepdim:
        gone = [d for d in dims if d < samples.dim]
        samples = None if samples.dim in dims else samples._replace(dim=samples.dim - len(gone))
    elif samples and samples.dim in dims:
        samples = None
    return ad.emit(shaped(out), found.mask.map(shaped), samples=samples)
