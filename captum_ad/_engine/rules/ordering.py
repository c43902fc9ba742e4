"""Sorting: each rank is computed from all positions along a dimension, and is not itself a position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.reduction import dims_of, reduced_mask
from captum_ad._engine.tags import tensors_in
from captum_ad._engine.transforming import ordered_dim


@register_rule("sort", "argsort", "msort", "topk")
def ordered(ad: Interpreter, op: Callable[..., Any], input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Checkpoint before; Φ over all positions that are sorted. The ranks of the result are channels.

    So adding the result to a map revives none of the map's positions. Indices get the mask of the values.
    """
    dim = ordered_dim(op.__name__, args, kwargs)
    if isinstance(dim, bool) or kwargs.get("out") is not None:  # x.argsort(True): stable
        ad.refuse("was called with arguments that its rule does not accept (give dim by name, and no out=)")
    return _along(ad, op, input, dim, True, args, kwargs)


@register_rule("kthvalue")
def place_in_order(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, k: int, dim: int = -1, keepdim: bool = False
) -> Any:
    """One rank of :func:`ordered`."""
    return _along(ad, op, input, dim, keepdim, (k, dim, keepdim), {})


@register_rule("mode", "median", "nanmedian")
def middle(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, dim: int | None = None, keepdim: bool = False
) -> Any:
    """The median or the most frequent value, with the mask of :func:`ordered`."""
    dim = -1 if dim is None and op.__name__ == "mode" else dim
    return _along(ad, op, input, dim, keepdim, () if dim is None else (dim, keepdim), {})


@register_rule("quantile", "nanquantile")
def between_places(
    ad: Interpreter,
    op: Callable[..., Any],
    input: Tensor,
    q: float | Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Any:
    """As :func:`middle`, anywhere in the order; several at once are found as if each were by itself, and stacked."""
    if ad.is_data(q):
        ad.refuse("takes quantiles that are computed from features")
    several = isinstance(q, Tensor) and q.dim() > 0
    return _along(ad, op, input, dim, keepdim, (q, dim, keepdim), {"interpolation": interpolation}, several)


def refuse_samples(ad: Interpreter, x: Tensor, *dims: int) -> None:
    """Refuse an operation along these dimensions if it would mix samples of the batch."""
    axes = ad.axes(x)
    if axes is not None and axes.crosses_samples(dims):
        ad.refuse("mixes the samples of a batch (pass them one by one)")


def _along(
    ad: Interpreter,
    op: Callable[..., Any],
    x: Tensor,
    dim: int | None,
    keepdim: bool,
    args: Any,
    kwargs: dict[str, Any],
    several: bool = False,
) -> Any:
    """What is found along a dimension; `several`: more than one, in a dimension in front."""
    if dim is not None:
        refuse_samples(ad, x, dim)
    found, shaped = reduced_mask(ad, x, dims_of(x, dim), keepdim)
    out = op(ad.deactivate(x), *args, **kwargs)
    mask = found.mask.map(shaped)
    mask = mask.map(lambda part: part.unsqueeze(0)) if several else mask
    for part in tensors_in(out):
        ad.emit(part, mask)
    return out
