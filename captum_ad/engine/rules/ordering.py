"""Order by value: each place in it is computed from all positions along a dimension, and is none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.registry import is_in_place, register_rule
from captum_ad.engine.rules.reduction import dims_of, reduced_mask
from captum_ad.engine.tags import tensors_in


@register_rule("sort", "argsort", "msort", "topk")
def ordered(ad: Interpreter, op: Callable[..., Any], input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Checkpoint before; Φ over all positions that are ordered, for each place; indices wear the mask of the values."""
    place = {"sort": 0, "argsort": 0, "topk": 1}.get(op.__name__, len(args))
    dim = kwargs.get("dim", args[place] if len(args) > place else -1)
    if isinstance(dim, bool):  # x.argsort(True): stable
        ad.refuse("is called in a way that its rule does not know (give dim by name)")
    return _along(ad, op, input, 0 if op.__name__ == "msort" else dim, True, args, kwargs)


@register_rule("kthvalue")
def place_in_order(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, k: int, dim: int = -1, keepdim: bool = False
) -> Any:
    """One of the places of :func:`ordered`."""
    return _along(ad, op, input, dim, keepdim, (k, dim, keepdim), {})


@register_rule("mode")
def most_frequent(ad: Interpreter, op: Callable[..., Any], input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """As :func:`place_in_order`."""
    return _along(ad, op, input, dim, keepdim, (dim, keepdim), {})


@register_rule("median", "nanmedian")
def median(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, dim: int | None = None, keepdim: bool = False
) -> Any:
    """The place in the middle."""
    if dim is not None:
        return _along(ad, op, input, dim, keepdim, (dim, keepdim), {})
    found, shaped = reduced_mask(ad, input, dims_of(input, None), False)
    return ad.emit(op(ad.deactivate(input)), found.mask.map(shaped))


def refuse_samples(ad: Interpreter, x: Tensor, dim: int) -> None:
    """Refuse what goes from one sample of a batch on to the next along a dimension."""
    axes = ad.axes(x)
    if axes is not None and dim % x.dim() - x.dim() in axes.samples:
        ad.refuse("mixes the samples of a batch (pass them one by one)")


def _along(
    ad: Interpreter, op: Callable[..., Any], x: Tensor, dim: int, keepdim: bool, args: Any, kwargs: dict[str, Any]
) -> Any:
    if kwargs.get("out") is not None or is_in_place(op):
        ad.refuse("writes into out=")
    refuse_samples(ad, x, dim)
    found, shaped = reduced_mask(ad, x, dims_of(x, dim), keepdim)
    out = op(ad.deactivate(x), *args, **kwargs)
    for part in tensors_in(out):
        ad.emit(part, found.mask.map(shaped))
    return out
