"""Operations that are others put together: the masks are those of the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.registry import register_rule

_ALONG = {"hstack": 1, "column_stack": 1, "vstack": 0, "row_stack": 0, "dstack": 2}


@register_rule(*_ALONG, always=True)
def stacked(ad: Interpreter, op: Callable[..., Tensor], tensors: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """A concatenation along one of the first three dimensions."""
    dim = _ALONG[op.__name__]
    adds_dimensions = min(x.dim() for x in tensors) <= max(dim, 1)
    if adds_dimensions and all(ad.mask(x) is None for x in tensors):
        return ad.emit(op(tensors, **kwargs), None)
    if adds_dimensions or kwargs.get("out") is not None:
        ad.refuse("writes into out=, or adds dimensions")
    return ad.follow(torch.cat, list(tensors), dim)


@register_rule("copy_", always=True)
def copy(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """As ``x[...] = src``."""
    ad.follow(x.__setitem__, ..., src)
    return x


@register_rule("softmin")
def softmin(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The softmax of what has the other sign."""
    return ad.follow(lambda: F.softmax(-input, dim, dtype=dtype))


@register_rule("cosine_similarity")
def cosine_similarity(
    ad: Interpreter, op: Callable[..., Tensor], x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Tensor:
    """The sum of the products of two maps, each divided by its norm."""
    back = dim - max(x1.dim(), x2.dim()) if dim >= 0 else dim  # counted from the end, where operands are aligned
    found = ad.follow(lambda: (F.normalize(x1, dim=back, eps=eps) * F.normalize(x2, dim=back, eps=eps)).sum(back))
    return ad.emit(op(ad.deactivate(x1), ad.deactivate(x2), dim, eps), ad.mask(found))


@register_rule("tril", "triu")
def triangle(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, diagonal: int = 0) -> Tensor:
    """Zeros written over the other triangle."""
    lower, write = op.__name__.startswith("tril"), x.masked_fill_ if op.__name__.endswith("_") else x.masked_fill

    def zeros_written() -> Tensor:
        everywhere = torch.ones(x.shape[-2:], dtype=torch.bool, device=x.device)
        return write(~(everywhere.tril(diagonal) if lower else everywhere.triu(diagonal)), 0)

    return ad.follow(zeros_written)


@register_rule("mse_loss", "l1_loss")
def loss(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The square or the absolute value of the difference, then the mean, the sum or nothing."""
    if size_average is not None or reduce is not None or weight is not None:
        ad.refuse("has size_average, reduce or weight: write reduction=, and multiply by the weight")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")

    def steps() -> Tensor:
        difference = input - target
        each = difference.square() if op.__name__ == "mse_loss" else difference.abs()
        return each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()

    return ad.follow(steps)
