"""Products that sum over shared dimensions: matrix products of two maps, and einsum."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask
from captum_ad.engine.registry import register_rule
from captum_ad.engine.rules.combination import written_mask
from captum_ad.engine.rules.linear import over_last


@register_rule("matmul", "bmm", "mm")
def matmul(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, other: Tensor) -> Tensor:
    """Checkpoint before; a result is dead if all the products in it are, and a product if a factor is."""
    if op.__name__ == "__rmatmul__":
        x, other, op = other, x, torch.matmul
    if not ad.is_data(other) and other.dim() == 2:
        return over_last(ad, op, x, other)
    if min(x.dim(), other.dim()) < 2:
        ad.refuse("multiplies by a vector (give it two dimensions)")
    out = op(ad.deactivate(x), ad.deactivate(other))
    lead = _LABELS[: out.dim() - 2]
    left, right = (lead[len(lead) - operand.dim() + 2 :] for operand in (x, other))
    return _emitted(ad, out, f"{left}yz,{right}zx->{lead}yx", x, other)


@register_rule("einsum")
def einsum(ad: Interpreter, op: Callable[..., Tensor], equation: str, *operands: Any) -> Tensor:
    """As :func:`matmul`, for two operands; with one it permutes and sums."""
    if not isinstance(equation, str):
        ad.refuse("is called without an equation")
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    equation = equation.replace(" ", "")
    if "->" not in equation or len(tensors) > 2:
        ad.refuse("has a rule for one or two operands, and for equations with '->'")
    explicit = _without_ellipsis(equation, [x.dim() for x in tensors])
    if any(len(set(labels)) < len(labels) for labels in explicit.replace("->", ",").split(",")):
        ad.refuse("takes a diagonal")
    return _emitted(ad, op(equation, *(ad.deactivate(x) for x in tensors)), explicit, *tensors)


@register_rule("baddbmm")
def baddbmm(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1,
    alpha: float = 1,
) -> Tensor:  # fmt: skip
    """A product of matrices, and a sum."""
    if op.__name__.endswith("_"):
        ad.refuse("writes into its first operand")
    return ad.follow(lambda: beta * input + alpha * torch.bmm(batch1, batch2))


_LABELS = "abcdefghijklmnopqrstuvw"


def _emitted(ad: Interpreter, out: Tensor, equation: str, *operands: Tensor) -> Tensor:
    """The result of a contraction with its mask; `equation` names every dimension."""
    ins, result = equation.split("->")
    known = [(labels, ad.samples(x)) for labels, x in zip(ins.split(","), operands) if ad.is_data(x)]
    label = [labels[samples.dim] for labels, samples in known if samples and samples.size > 1]
    if any(name not in result or name != label[0] for name in label):
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    masks = [written_mask(ad, x) for x in operands]
    if len(masks) == 1:  # as a product with 1, which is no feature
        equation, nothing = f"{ins},->{result}", torch.zeros((), dtype=torch.bool, device=out.device)
        masks.append(FeatureMask(nothing, nothing))
    places = [s._replace(dim=result.index(labels[s.dim])) for labels, s in known if s and labels[s.dim] in result]
    return ad.emit(out, contracted(equation, *masks), samples=places[0] if places else None)


def _without_ellipsis(equation: str, dims: list[int]) -> str:
    """An equation whose "..." is written out, for operands of that many dimensions."""
    ins, result = equation.split("->")
    free = [label for label in string.ascii_letters if label not in equation]
    hidden = {labels: n - len(labels) + 3 for labels, n in zip(ins.split(","), dims) if "..." in labels}
    lead = "".join(free[: max(hidden.values(), default=0)])
    written = [labels.replace("...", lead[len(lead) - hidden.get(labels, 0) :]) for labels in ins.split(",")]
    return ",".join(written) + "->" + result.replace("...", lead)


def contracted(equation: str, a: FeatureMask, b: FeatureMask) -> FeatureMask:
    """The mask of an einsum of two maps.

    A product of a dead factor is dead. A sum is dead if all of it is, active if any kept feature is in
    what is left, and no feature otherwise (constants times constants).
    """
    if a.feature is None and b.feature is None:
        return FeatureMask(_any(equation, a.kept, b.kept))
    live = _any(equation, ~a.dead, ~b.dead)
    kept = _any(equation, a.kept, ~b.dead) | _any(equation, ~a.dead, b.kept)
    feature = kept | ~live
    return FeatureMask(kept, None if bool(feature.all()) else feature)


def _any(equation: str, a: Tensor, b: Tensor) -> Tensor:
    """Whether any product of two truths is; exact, as float32 holds such counts."""
    with torch.autocast(a.device.type, enabled=False):
        return torch.einsum(equation, a.to(torch.float32), b.to(torch.float32)) > 0
