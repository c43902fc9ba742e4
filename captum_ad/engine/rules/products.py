"""Products and distances of maps in torch's other spellings: the masks are those of the steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.registry import is_in_place, register_rule
from captum_ad.engine.rules.combination import sum_of_maps


@register_rule(torch.linalg.matmul, always=True)
def linalg_matmul(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, other: Tensor) -> Tensor:
    """A product of matrices."""
    return ad.follow(torch.matmul, input, other)


@register_rule(torch.linalg.vecdot)
def vecdot(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Products summed over one dimension."""
    x, y = ad.follow(lambda: torch.broadcast_tensors(x, y))
    found: Tensor = ad.follow(lambda: torch.einsum("...i,...i->...", x.conj().movedim(dim, -1), y.movedim(dim, -1)))
    return found


@register_rule("inner")
def inner(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, other: Tensor) -> Tensor:
    """Products summed over the last dimensions."""
    if min(input.dim(), other.dim()) == 0:
        return ad.follow(torch.mul, input, other)
    found: Tensor = ad.follow(torch.tensordot, input, other, ([-1], [-1]))
    return found


_PRODUCTS = {"mv": "ij,j->i", "dot": "i,i->", "vdot": "i,i->", "ger": "i,j->ij", "outer": "i,j->ij"}


@register_rule(*_PRODUCTS)
def product(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, other: Tensor) -> Tensor:
    """The einsum of two operands."""
    found: Tensor = ad.follow(
        torch.einsum, _PRODUCTS[op.__name__], input.conj() if op.__name__ == "vdot" else input, other
    )
    return found


@register_rule("chain_matmul", torch.linalg.multi_dot)
def products(ad: Interpreter, op: Callable[..., Tensor], *matrices: Any) -> Tensor:
    """One product of matrices after the other."""
    many = matrices if isinstance(matrices[0], Tensor) else matrices[0]
    found: Tensor = ad.follow(reduce, torch.matmul, many)
    return found


_ADDED = {"addmm": "ij,jk->ik", "addmv": "ij,j->i", "addbmm": "bij,bjk->ik", "addr": "i,j->ij"}


@register_rule(*_ADDED)
def added_product(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, one: Tensor, two: Tensor, *, beta: float = 1,
    alpha: float = 1,
) -> Tensor:  # fmt: skip
    """A product, and a sum."""
    name = op.__name__
    if name.endswith("_"):
        ad.refuse("writes into its first operand")

    def run() -> Tensor:
        both = one @ two if name == "addmm" else torch.einsum(_ADDED[name], one, two)
        return torch.add(input if beta == 1 else beta * input, both, alpha=alpha)

    return ad.follow(run)


@register_rule(torch.bilinear)
def bilinear(
    ad: Interpreter, op: Callable[..., Tensor], input1: Tensor, input2: Tensor, weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The einsum of two maps and a constant."""
    found = ad.follow(lambda: torch.einsum("...i,oij,...j->...o", input1, weight, input2))
    return found if bias is None else ad.follow(torch.add, found, bias)


@register_rule("hypot")
def hypot(ad: Interpreter, op: Callable[..., Tensor], input: Any, other: Any) -> Tensor:
    """The norm of two maps, as a sum; where both are missing it has no slope."""
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


@register_rule(F.pairwise_distance, torch.pairwise_distance)
def pairwise_distance(
    ad: Interpreter, op: Callable[..., Tensor], x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6,
    keepdim: bool = False,
) -> Tensor:  # fmt: skip
    """The norm of a difference."""
    found: Tensor = ad.follow(lambda: torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim))
    return found


@register_rule("dist")
def distance(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """The norm of a difference, over everything."""
    found: Tensor = ad.follow(lambda: torch.linalg.vector_norm(input - other, p))
    return found


@register_rule("cdist")
def cdist(
    ad: Interpreter, op: Callable[..., Tensor], x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None
) -> Tensor:
    """The norm of each difference of two positions; the masks are of one channel, if all have the same."""
    masks = [ad.mask(x) for x in (x1, x2)]
    same = all(mask is None or mask.kept.shape[-1] == 1 for mask in masks)

    def one_by_one() -> Tensor:
        a, b = (x[..., :1] if same else x for x in (x1, x2))
        norms: Tensor = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), math.inf, -1)
        return norms

    found = ad.follow(one_by_one)
    named = {} if compute_mode is None else {"compute_mode": compute_mode}
    return ad.emit(op(ad.deactivate(x1), ad.deactivate(x2), p, **named), ad.mask(found))
