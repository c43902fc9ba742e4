"""Reductions over whole dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from captum_ad._engine.axes import Role
from captum_ad._engine.definitions import Attribution, reduce_positions
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import register_rule, takes_parts
from captum_ad._engine.rules.combined_masks import summed
from captum_ad._engine.rules.pooling import over_active


@register_rule("mean", "nanmean", "sum", "nansum", "amax", "amin", "any")
@takes_parts
def reduction(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Checkpoint before; M' = 1(Φ > τ) over the reduced dimensions; a statistic is active if anything is.

    With ``average="active"``, a mean is over active positions only (nanmean: those that are not NaN).
    """
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    dims, average = dims_of(input, dim), "mean" in op.__name__

    def run(x: Tensor) -> Tensor:
        return op(x, dims, keepdim=True, **kwargs)

    out = ad.mean_over(run, input, dims) if op.__name__ == "mean" else run(ad.deactivate(input))
    if ad.mask(input) is None:
        return ad.emit(out if keepdim else out.squeeze(dims), None)
    found, shaped = reduced_mask(ad, input, dims, keepdim)
    axes = ad.axes(input)
    of_branches = axes is not None and bool(dims) and all(axes.role(d) in (Role.BRANCH, Role.PIECE) for d in dims)
    if of_branches and (average or "sum" in op.__name__):  # reduces stacked maps, which is a sum of maps
        found = Attribution(found.kept, found.features, summed(ad, found.kept, found.features))

    if average and ad.rule.average == "active" and not of_branches:  # over space
        out = over_active(out, found if op.__name__ == "mean" else _numbers(ad, input, dims))
    return ad.emit(shaped(out), found.mask.map(shaped))


def _numbers(ad: Interpreter, x: Tensor, dims: Sequence[int]) -> Attribution:
    """The counts of :func:`reduced_mask`, for elements that are not NaN."""
    mask, numbers = ad.mask(x), ~ad.deactivate(x).isnan()
    assert mask is not None
    kept, features = (part.sum(list(dims), keepdim=True).float() for part in (numbers & ~mask.dead, numbers))
    return Attribution(kept, features, mask)


def dims_of(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    """The dimensions that are reduced, counted from 0."""
    given = range(x.dim()) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    return [d % x.dim() for d in given]


def reduced_mask(
    ad: Interpreter, x: Tensor, dims: Sequence[int], keepdim: bool
) -> tuple[Attribution, Callable[[Tensor], Tensor]]:
    """Φ of a reduction over `dims` (left with size 1), and a function that squeezes them unless `keepdim`."""
    mask = ad.mask(x)
    assert mask is not None
    found = reduce_positions(mask, x.shape, dims, ad.tau_over(x, dims))

    def shaped(part: Tensor) -> Tensor:
        return part if keepdim else part.squeeze(list(dims))

    return found, shaped
