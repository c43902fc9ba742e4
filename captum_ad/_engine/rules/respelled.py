"""Operations that are another name for others, or a short composition of them: those carry the masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from inspect import Parameter, Signature, signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import is_in_place, register_rule
from captum_ad._engine.rules.reduction import dims_of


def respelled(by: Callable[..., Any], *operations: Any, always: bool = False) -> None:
    """Register operations that compute the same as `by`, a function of the same arguments made of other operations."""

    @register_rule(*operations, always=always)
    def rule(ad: Interpreter, op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if is_in_place(op):
            ad.refuse("writes into its first operand")
        return ad.follow(by, *args, **kwargs)

    own = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in ("ad", "op")]
    rule.__signature__ = Signature([*own, *signature(by).parameters.values()])  # type: ignore[attr-defined]


def _many(tensors: tuple[Any, ...]) -> Any:
    """The tensors, which were given one by one or as a list."""
    return tensors if not tensors or isinstance(tensors[0], Tensor) else tensors[0]


# Shapes. always=True: the axes of tensors without a mask must be known too.


def _at_least(dims: int, *tensors: Any) -> Any:
    if len(tensors) > 1 or not isinstance(tensors[0], Tensor):
        return tuple(_at_least(dims, x) for x in _many(tensors))
    (x,) = tensors
    before = max(0, min(dims, 2) - x.dim())
    return x.reshape(*[1] * before, *x.shape, *[1] * max(0, dims - before - x.dim()))


def _broadcast(*tensors: Any) -> tuple[Tensor, ...]:
    shape = torch.broadcast_shapes(*(x.shape for x in _many(tensors)))
    return tuple(x.expand(shape) for x in _many(tensors))


def _copied(view: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    found = view(x, *args, **kwargs)
    return found.clone() if isinstance(found, Tensor) else tuple(part.clone() for part in found)


def _diag(x: Tensor, diagonal: int = 0) -> Tensor:
    return x.diagonal(diagonal) if x.dim() == 2 else torch.diag_embed(x, diagonal)


def _diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    shape, size = list(x.shape[:-1]), x.shape[-1] + abs(offset)
    for dim in sorted(d % (x.dim() + 1) for d in (dim1, dim2)):
        shape.insert(dim, size)
    return x.new_zeros(shape).diagonal_scatter(x, offset, dim1, dim2)


def _masked_select(x: Tensor, mask: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(x.shape, mask.shape)
    return x.expand(shape)[mask.expand(shape)]


def _stacked(dims: int, dim: int, tensors: Any) -> Tensor:
    grown = [_at_least(dims, x) for x in tensors]
    return torch.cat(grown, min(dim, grown[0].dim() - 1))


for _dims in (1, 2, 3):
    respelled(partial(_at_least, _dims), f"atleast_{_dims}d", always=True)
respelled(partial(_stacked, 1, 1), "hstack", always=True)
respelled(partial(_stacked, 2, 0), "vstack", "row_stack", always=True)
respelled(partial(_stacked, 3, 2), "dstack", always=True)
respelled(
    lambda tensors: torch.cat([x.reshape(-1, 1) if x.dim() < 2 else x for x in tensors], 1), "column_stack", always=True
)
respelled(_broadcast, "broadcast_tensors", always=True)
for _dim, _name in enumerate(("vsplit", "hsplit", "dsplit")):
    respelled(partial(lambda dim, x, parts: x.tensor_split(parts, min(dim, x.dim() - 1)), _dim), _name, always=True)
for _name in "diagonal expand narrow permute select split squeeze t transpose unbind unfold unsqueeze view".split():
    respelled(partial(_copied, getattr(Tensor, _name)), f"{_name}_copy", always=True)
respelled(_diag_embed, "diag_embed", always=True)
respelled(_diag, "diag", always=True)
respelled(lambda x, offset=0: torch.diag_embed(x.reshape(-1), offset), "diagflat", always=True)
respelled(
    lambda A, *, offset=0, dim1=-2, dim2=-1: A.diagonal(offset, dim1, dim2), torch.linalg.diagonal, always=True
)  # fmt: skip
respelled(lambda x, pad, value=0: F.pad(x, pad, "constant", value), "constant_pad_nd", always=True)
respelled(_masked_select, "masked_select", always=True)
respelled(lambda x, index: x.reshape(-1).gather(0, index.reshape(-1)).reshape(index.shape), "take", always=True)


# Products. always=True for the same reason.


def _inner(x: Tensor, other: Tensor) -> Tensor:
    return torch.tensordot(x, other, ([-1], [-1])) if min(x.dim(), other.dim()) else x * other


def _vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    x, y = (one.movedim(dim, -1) for one in torch.broadcast_tensors(x.conj(), y))
    return torch.einsum("...i,...i->...", x, y)


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    found = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return found if bias is None else found + bias


def _added(
    product: Callable[[Tensor, Tensor], Tensor], input: Tensor, one: Tensor, two: Tensor, *, beta: float = 1,
    alpha: float = 1,
) -> Tensor:  # fmt: skip
    return torch.add(input if beta == 1 else beta * input, product(one, two), alpha=alpha)


respelled(lambda input, other: input @ other, torch.linalg.matmul, always=True)
respelled(lambda *matrices: reduce(torch.matmul, _many(matrices)), "chain_matmul", torch.linalg.multi_dot, always=True)
respelled(lambda x, other: x.conj() @ other, "vdot", always=True)
respelled(lambda x, other: x[:, None] * other, "ger", "outer", always=True)
respelled(_inner, "inner", always=True)
respelled(_vecdot, torch.linalg.vecdot, always=True)
respelled(_bilinear, torch.bilinear, always=True)
respelled(partial(_added, lambda one, two: one @ two), "addmm", "addmv", "baddbmm", always=True)
respelled(partial(_added, lambda one, two: torch.einsum("bij,bjk->ik", one, two)), "addbmm", always=True)
respelled(partial(_added, torch.outer), "addr", always=True)


# Element-wise


def _cross(x: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    dim = next(d for d, size in enumerate(x.shape) if size == 3) if dim is None else dim
    return x.roll(-1, dim) * other.roll(-2, dim) - x.roll(-2, dim) * other.roll(-1, dim)


def _diff(x: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    for _ in range(n):
        x = x.narrow(dim, 1, x.shape[dim] - 1) - x.narrow(dim, 0, x.shape[dim] - 1)
    return x


respelled(_cross, "cross")
respelled(lambda x, other, *, dim=-1: _cross(x, other, dim), torch.linalg.cross)
respelled(_diff, "diff")
respelled(lambda input, dim=None, _stacklevel=3, dtype=None: F.softmax(-input, dim, dtype=dtype), "softmin")


# Reductions


def _extremes(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    over: Any = () if dim is None else dim
    return torch.return_types.aminmax((x.amin(over, keepdim), x.amax(over, keepdim)))


def _distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim)
    return norm


respelled(_extremes, "aminmax")
respelled(lambda x, dim=None: (x != 0).sum(dims_of(x, dim)), "count_nonzero")
respelled(lambda x: x.diagonal().sum(), "trace")
respelled(_distance, F.pairwise_distance, torch.pairwise_distance)
respelled(lambda x, other, p=2.0: torch.linalg.vector_norm(x - other, p), "dist")
respelled(
    lambda x, dim=None, keepdim=False: torch.linalg.vector_norm(x, 2, dim or None, keepdim), "frobenius_norm"
)  # fmt: skip
respelled(
    lambda A, ord="fro", dim=(-2, -1), keepdim=False, **kwargs: torch.linalg.norm(A, ord, dim, keepdim, **kwargs),
    torch.linalg.matrix_norm,
)


# Norms and grids, in forms that have more arguments than those of torch.nn.functional, or numbers for their names

_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")

respelled(lambda x, shape, weight=None, bias=None, eps=1e-5, _=True: F.layer_norm(x, shape, weight, bias, eps),
          torch.layer_norm)  # fmt: skip
respelled(lambda x, groups, weight=None, bias=None, eps=1e-5, _=True: F.group_norm(x, groups, weight, bias, eps),
          torch.group_norm)  # fmt: skip
respelled(lambda x, weight, bias, mean, var, training, momentum, eps, _: F.batch_norm(
    x, mean, var, weight, bias, training, momentum, eps), torch.batch_norm)  # fmt: skip
respelled(lambda x, weight, bias, mean, var, use_input, momentum, eps, _: F.instance_norm(
    x, mean, var, weight, bias, use_input, momentum, eps), torch.instance_norm)  # fmt: skip
respelled(lambda x, grid, mode, padding, align: F.grid_sample(x, grid, _MODES[mode], _PADDINGS[padding], align),
          torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d)  # fmt: skip
