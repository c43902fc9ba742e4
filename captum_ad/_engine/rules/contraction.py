"""Products that are summed over shared dimensions: matrix products and einsum."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_true
from captum_ad._engine.mixing import contracted_axes
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.linear import mixed, over_last
from captum_ad._engine.tags import tensors_in


@register_rule("matmul", "bmm", "mm", "mv", "dot", always=True)
def matmul(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, other: Tensor) -> Tensor:
    """Checkpoint before; a result is dead if all its products are, and a product is dead if one of its factors is."""
    if op.__name__ == "__rmatmul__":
        x, other, op = other, x, torch.matmul
    if other.dim() == 1:
        return ad.follow(lambda: (x @ other[:, None]).squeeze(-1))
    if x.dim() == 1:
        return ad.follow(lambda: (x[None] @ other).squeeze(-2))
    if not ad.is_data(other) and other.dim() == 2:
        return over_last(ad, lambda x: op(x, other), x, other.shape[-1])
    out = op(ad.deactivate(x), ad.deactivate(other))
    lead = _LABELS[: out.dim() - 2]
    left, right = (lead[len(lead) - operand.dim() + 2 :] for operand in (x, other))
    return _emitted(ad, out, f"{left}yz,{right}zx->{lead}yx", x, other)


@register_rule("einsum", always=True)
def einsum(ad: Interpreter, op: Callable[..., Tensor], equation: str, *operands: Any) -> Tensor:
    """Like :func:`matmul`, for any number of operands."""
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not isinstance(equation, str):
        if not _masked(ad, *tensors_in(equation, operands)):
            return ad.emit(op(equation, *operands), None)
        ad.refuse("was called without an equation (give it as a string)")
    explicit = _without_ellipsis(equation.replace(" ", ""), [x.dim() for x in tensors])
    if any(len(set(labels)) < len(labels) for labels in explicit.replace("->", ",").split(",")):
        if not _masked(ad, *tensors):
            return ad.emit(op(equation, *tensors), None)
        ad.refuse("takes a diagonal")
    ins, result = explicit.split("->")
    if len(tensors) == 2 and set(ins) - {","} == set(result):  # nothing is summed
        return ad.follow(lambda: torch.mul(*(_spread(x, own, result) for x, own in zip(tensors, ins.split(",")))))
    return _emitted(ad, op(equation, *(ad.deactivate(x) for x in tensors)), explicit, *tensors)


def _spread(x: Tensor, labels: str, result: str) -> Tensor:
    """`x` with its dimensions in the order of the result's labels, and size 1 for those that it does not have."""
    turned = x.permute([labels.index(label) for label in result if label in labels])
    return turned[tuple(slice(None) if label in labels else None for label in result)]


@register_rule("tensordot", always=True)
def tensordot(ad: Interpreter, op: Callable[..., Tensor], a: Tensor, b: Tensor, dims: Any = 2, **kwargs: Any) -> Tensor:
    """The einsum that sums over these pairs of dimensions."""
    if isinstance(dims, (Tensor, dict)) or kwargs.get("out") is not None:
        ad.refuse("was called with dims as a tensor, or with out=")
    ours, theirs = (range(-dims, 0), range(dims)) if isinstance(dims, int) else dims
    left, right = list(_LABELS[: a.dim()]), list(string.ascii_uppercase[: b.dim()])
    for i, j in zip(*([d] if isinstance(d, int) else d for d in (ours, theirs))):
        right[j] = left[i]
    result = [label for label in left + right if (label in left) != (label in right)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    return _emitted(ad, op(ad.deactivate(a), ad.deactivate(b), dims), equation, a, b)


_LABELS = "abcdefghijklmnopqrstuvw"


def _emitted(ad: Interpreter, out: Tensor, equation: str, *operands: Tensor) -> Tensor:
    """Emit the result of a contraction with its mask; `equation` names every dimension."""
    ins, result = equation.split("->")
    masked = _masked(ad, *operands)
    axes = contracted_axes(ins.split(","), result, [ad.axes(x) for x in operands], out)
    if masked and axes.mixed:
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    masks = [written_mask(ad, x) for x in operands]
    data = [i for i, x in enumerate(operands) if ad.is_data(x)]
    if masked and len(data) == 1:  # the others are constants, so this is a linear map: Φ over the positions it mixes
        (i,) = data
        summed = [d for d, label in enumerate(ins.split(",")[i]) if label not in result]
        if summed and len(operands) > 1 and axes.has_no_place:
            return ad.emit(out, None, axes=axes)  # like linear: no position is left to deactivate
        masks[i] = mixed(ad, operands[i], masks[i], summed)
    return ad.emit(out, contracted(equation, *masks) if masked else None, axes=axes)


def _masked(ad: Interpreter, *operands: Tensor) -> bool:
    return any(ad.mask(x) is not None for x in operands)


def _without_ellipsis(equation: str, dims: list[int]) -> str:
    """The equation with "..." and the result written out; `dims`: the number of dimensions of each operand."""
    ins, arrow, result = equation.partition("->")
    if not arrow:
        result = "..." * ("..." in ins) + "".join(sorted(c for c in set(ins) - set(".,") if ins.count(c) == 1))
    free = [label for label in string.ascii_letters if label not in equation]
    hidden = [n - len(labels) + 3 if "..." in labels else 0 for labels, n in zip(ins.split(","), dims)]
    lead = "".join(free[: max(hidden)])
    written = [labels.replace("...", lead[len(lead) - n :]) for labels, n in zip(ins.split(","), hidden)]
    return ",".join(written) + "->" + result.replace("...", lead)


def contracted(equation: str, *masks: PositionMask) -> PositionMask:
    """The mask of an einsum of maps.

    A product with a dead factor is dead. A sum is dead if all its products are. Otherwise it is active if
    a kept feature is in one of the others, and not a feature if they are products of constants.
    """
    kept = [mask.kept for mask in masks]
    if all(mask.feature is None for mask in masks):
        return PositionMask(_any(equation, *kept))
    live = [~mask.dead for mask in masks]
    by_feature = [_any(equation, *live[:i], part, *live[i + 1 :]) for i, part in enumerate(kept)]
    found = torch.stack(by_feature).any(0)
    feature = found | ~_any(equation, *live)
    return PositionMask(found, None if all_true(feature) else feature)


def _any(equation: str, *parts: Tensor) -> Tensor:
    """The einsum of booleans with "any" for the sum; exact, because float32 holds such counts exactly."""
    with torch.autocast(parts[0].device.type, enabled=False):
        return torch.einsum(equation, *(part.to(torch.float32) for part in parts)) > 0
