"""Operations that only respell others, or are a few of them: the masks are those of the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import Attribution, FeatureMask
from captum_ad.engine.registry import register_rule
from captum_ad.engine.rules.combination import product_of_maps, sum_of_maps, sum_of_maps_not_zero, written_mask
from captum_ad.engine.rules.pooling import over_active
from captum_ad.engine.rules.reduction import dims_of, reduced_mask, reduction
from captum_ad.engine.rules.shape import of_the_same_shape, permute, select
from captum_ad.engine.tags import tensors_in

_Dims = int | Sequence[int] | None

register_rule("nansum")(reduction)
register_rule("gcd", "nextafter", "complex")(sum_of_maps)
register_rule("isclose")(sum_of_maps_not_zero)
register_rule(
    "lcm", "ldexp", "polar", "xlog1py", "bitwise_left_shift", "bitwise_right_shift", "lshift", "rshift",
)(product_of_maps)  # fmt: skip
register_rule("split_with_sizes", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", always=True)(select)
register_rule(Tensor.mH.__get__, always=True)(permute)  # type: ignore[attr-defined]


@register_rule("new", always=True)
def new(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A constant of a tensor's dtype and device, unless it copies features."""
    if any(map(ad.is_data, tensors_in(args, kwargs))):
        ad.refuse("copies features (use clone)")
    return of_the_same_shape(ad, op, x, *args, **kwargs)


# Shapes


@register_rule("atleast_1d", "atleast_2d", "atleast_3d", always=True)
def at_least(ad: Interpreter, op: Callable[..., Any], *tensors: Any) -> Any:
    """Reshaped to have a dimension more, if need be."""
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return ad.follow(torch.reshape, tensors[0], op(tensors[0].detach()).shape)
    many = tensors if isinstance(tensors[0], Tensor) else tensors[0]
    return tuple(at_least(ad, op, x) for x in many)


@register_rule("broadcast_tensors", always=True)
def broadcast(ad: Interpreter, op: Callable[..., Any], *tensors: Any) -> Sequence[Tensor]:
    """Each expanded to the shape that they have in common."""
    many = tensors if isinstance(tensors[0], Tensor) else tensors[0]
    shape = torch.broadcast_shapes(*(x.shape for x in many))
    return tuple(ad.follow(Tensor.expand, x, shape) for x in many)


@register_rule("hsplit", "vsplit", "dsplit", always=True)
def split(ad: Interpreter, op: Callable[..., Any], x: Tensor, indices_or_sections: Any) -> Any:
    """Split along one of the first three dimensions."""
    dim = {"h": min(1, x.dim() - 1), "v": 0, "d": 2}[op.__name__[0]]
    return ad.follow(torch.tensor_split, x, indices_or_sections, dim)


@register_rule(
    *(f"{name}_copy" for name in (
        "diagonal expand narrow permute select split squeeze t transpose unbind unfold unsqueeze view"
    ).split()),
    always=True,
)  # fmt: skip
def copied(ad: Interpreter, op: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The copy of a view, or of several."""
    view = getattr(Tensor, op.__name__.removesuffix("_copy"))

    def run() -> Any:
        found = view(x, *args, **kwargs)
        return found.clone() if isinstance(found, Tensor) else tuple(part.clone() for part in found)

    return ad.follow(run)


@register_rule("diag_embed", always=True)
def on_a_diagonal(
    ad: Interpreter, op: Callable[..., Tensor], x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1
) -> Tensor:
    """Values on a diagonal; the zeros beside it are no features."""
    if not ad.is_data(x):
        return ad.constant(op(x, offset, dim1, dim2))
    mask = written_mask(ad, x).map(lambda part: op(part.expand(x.shape), offset, dim1, dim2))
    where = op(torch.ones_like(x, dtype=torch.bool), offset, dim1, dim2)
    mask = FeatureMask(mask.kept, mask.everywhere & where)
    return ad.emit(op(x, offset, dim1, dim2), mask, clean=ad.is_clean(x))


@register_rule("diag", "diagflat", always=True)
def diagonal_of_or_on(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix that has it."""
    if op.__name__ == "diag" and x.dim() == 2:
        return ad.follow(torch.diagonal, x, diagonal)
    return ad.follow(lambda: torch.diag_embed(x.reshape(-1), diagonal))


@register_rule(torch.cross, Tensor.cross, torch.linalg.cross)
def cross(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Products of what is next and what is next but one."""
    if dim is None:  # of torch.cross: the first of size 3
        dim = -1 if op is torch.linalg.cross else next(d for d, size in enumerate(x.shape) if size == 3)

    def run() -> Tensor:
        return x.roll(-1, dim) * other.roll(-2, dim) - x.roll(-2, dim) * other.roll(-1, dim)

    return ad.follow(run)


@register_rule("constant_pad_nd", always=True)
def constant_pad(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """Padding."""
    return ad.follow(lambda: F.pad(x, pad, "constant", value))


@register_rule("masked_select")
def masked_select(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, mask: Tensor) -> Tensor:
    """As ``x[mask]``."""
    return ad.follow(lambda: x.expand(torch.broadcast_shapes(x.shape, mask.shape))[mask.expand_as(x)])


@register_rule("take")
def take(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, index: Tensor) -> Tensor:
    """Picked from all elements in a row, by constant indices."""
    if ad.is_data(index):
        ad.refuse("picks by indices that are computed from features")
    return ad.follow(lambda: x.reshape(-1)[index])


@register_rule(torch.linalg.diagonal, always=True)
def linalg_diagonal(
    ad: Interpreter, op: Callable[..., Tensor], A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1
) -> Tensor:
    """As ``torch.diagonal``, of other dimensions."""
    return ad.follow(torch.diagonal, A, offset, dim1, dim2)


# Reductions


@register_rule("nanmean")
def nanmean(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: _Dims = None, keepdim: bool = False, **kwargs: Any
) -> Tensor:
    """The mean of what is a number; of active positions only, if ``average="active"``."""
    dims = dims_of(input, dim)
    found, shaped = reduced_mask(ad, input, dims, keepdim)
    mask, x = ad.mask(input), ad.deactivate(input)
    assert mask is not None
    out = op(x, dims, keepdim=True, **kwargs)
    if ad.rule.average == "active":
        numbers = ~x.isnan()
        count = (numbers & ~mask.dead).sum(dims, keepdim=True)
        found = Attribution(count.float(), numbers.sum(dims, keepdim=True).float(), found.mask)
        out = over_active(out, found)
    return ad.emit(shaped(out), found.mask.map(shaped))


@register_rule("aminmax")
def aminmax(
    ad: Interpreter, op: Callable[..., Any], input: Tensor, *, dim: int | None = None, keepdim: bool = False
) -> Any:
    """The extremes."""
    over = () if dim is None else dim
    both = ad.follow(lambda: (input.amin(over, keepdim), input.amax(over, keepdim)))
    return torch.return_types.aminmax(both)


@register_rule("count_nonzero")
def count_nonzero(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: _Dims = None) -> Tensor:
    """The sum of what is not zero."""
    return ad.follow(lambda: (input != 0).sum() if dim is None else (input != 0).sum(dims_of(input, dim)))


@register_rule("trace")
def trace(ad: Interpreter, op: Callable[..., Tensor], x: Tensor) -> Tensor:
    """The sum of the diagonal."""
    return ad.follow(lambda: x.diagonal().sum())


@register_rule("frobenius_norm", torch.linalg.matrix_norm)
def matrix_norm(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, ord: Any = "fro", dim: Any = (-2, -1), *args: Any,
    **kwargs: Any,
) -> Tensor:  # fmt: skip
    """Frobenius' norm is that of all elements of a matrix; others have no rule."""
    if op.__name__ == "frobenius_norm":
        dim, args = ord, (isinstance(dim, bool) and dim,)
    elif ord != "fro":
        ad.refuse("is a norm of matrices")
    found: Tensor = ad.follow(lambda: torch.linalg.vector_norm(input, 2, dim, *args, **kwargs))
    return found


# Norms and windows in torch's other spellings


@register_rule(torch.layer_norm, torch.group_norm)
def norm(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, of: Any, weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    """Without cuDNN's flag."""
    return ad.follow(F.layer_norm if op.__name__ == "layer_norm" else F.group_norm, input, of, weight, bias, eps)


@register_rule(torch.batch_norm, torch.instance_norm)
def norm_of_channels(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, weight: Tensor | None, bias: Tensor | None,
    mean: Tensor | None, var: Tensor | None, flag: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """The same arguments in another order."""
    function = F.batch_norm if op.__name__ == "batch_norm" else F.instance_norm
    return ad.follow(function, input, mean, var, weight, bias, flag, momentum, eps)


_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


@register_rule(torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d)
def grid_sampler(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, grid: Tensor, mode: int, padding: int, align: bool
) -> Tensor:
    """Modes by number."""
    return ad.follow(F.grid_sample, input, grid, _MODES[mode], _PADDINGS[padding], align)
