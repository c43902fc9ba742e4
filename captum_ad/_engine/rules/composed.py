"""Operations that are composed of others, which carry the masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import is_in_place, register_rule
from captum_ad._engine.rules.combination import sum_of_maps


@register_rule("copy_", always=True)
def copy(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """The same as ``x[...] = src``."""
    ad.follow(x.__setitem__, ..., src)
    return x


@register_rule("hypot")
def hypot(ad: Interpreter, op: Callable[..., Tensor], input: Any, other: Any) -> Tensor:
    """The norm of two maps, with the mask of their sum. With gradients, 0 is avoided where both are dead: no slope."""
    if not torch.is_grad_enabled():
        return sum_of_maps(ad, op, input, other)
    if is_in_place(op):
        written: Tensor = ad.follow(lambda: input.copy_(torch.hypot(input, other)))
        return written
    found = ad.follow(torch.add, input, other)
    mask, operands = ad.mask(found), [ad.deactivate(x) for x in (input, other)]
    if mask is not None:
        operands[0] = operands[0].masked_fill(mask.dead, 1)
    return ad.emit(op(*operands), mask)


@register_rule("cdist", always=True)
def cdist(
    ad: Interpreter, op: Callable[..., Tensor], x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None
) -> Tensor:
    """The norm of the difference of each pair of positions."""
    masks = [ad.mask(x) for x in (x1, x2)]
    same = all(mask is None or mask.kept.shape[-1] == 1 for mask in masks)  # then one channel gives the mask of all

    def one_by_one() -> Tensor:
        a, b = (x[..., :1] if same else x for x in (x1, x2))
        norms: Tensor = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), math.inf, -1)
        return norms

    found = ad.follow(one_by_one)
    named = {} if compute_mode is None else {"compute_mode": compute_mode}
    return ad.emit(op(ad.deactivate(x1), ad.deactivate(x2), p, **named), ad.mask(found))


@register_rule("cosine_similarity")
def cosine_similarity(
    ad: Interpreter, op: Callable[..., Tensor], x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Tensor:
    """The sum of the product of two maps, each divided by its norm."""
    back = dim - max(x1.dim(), x2.dim()) if dim >= 0 else dim  # from the end, where broadcasting aligns operands
    found = ad.follow(lambda: (F.normalize(x1, dim=back, eps=eps) * F.normalize(x2, dim=back, eps=eps)).sum(back))
    return ad.emit(op(ad.deactivate(x1), ad.deactivate(x2), dim, eps), ad.mask(found))


@register_rule("tril", "triu")
def triangle(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, diagonal: int = 0) -> Tensor:
    """The same as writing zeros over the other triangle."""
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
    """The square or absolute value of the difference, then its mean, its sum, or no reduction."""
    if size_average is not None or reduce is not None or weight is not None:
        ad.refuse("was called with size_average, reduce or weight (use reduction=, and multiply by the weight)")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")

    def steps() -> Tensor:
        difference = input - target
        each = difference.square() if op.__name__ == "mse_loss" else difference.abs()
        return each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()

    return ad.follow(steps)
