"""Linear maps over the last dimension: over channels like a 1×1 convolution; over positions, the mask ends there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.axes import Axis, Role
from captum_ad._engine.definitions import places_of, reduce_positions
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.mixing import last_mixed
from captum_ad._engine.registry import register_rule, takes_parts


@register_rule(F.linear)
@takes_parts
def linear(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Checkpoint before; a position stays active if any of its channels is. If no positions are left, no mask."""
    return over_last(ad, lambda x: op(x, weight, bias), input, weight.shape[0])


def over_last(ad: Interpreter, run: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Emit a linear map, computed by `run`, over the last dimension of `x`; `size`: the size of its result there."""
    ad.only(x)
    mask, last, axes = ad.mask(x), x.dim() - 1, ad.axes(x)
    assert axes is not None
    if mask is not None and axes.crosses_samples([-1]):
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    if mask is not None and axes.is_vector:
        mask = None  # no position is left to deactivate
    elif mask is not None and mask.kept.shape[last] > 1:
        mask = mixed(ad, x, mask, [last])
    by_position = mask is not None and ad.spares_checkpoint(x, last)
    shape = (*x.shape[:last], size)
    checked = () if by_position else [x]
    return ad.by_position(run, [x], mask, checked=checked, shape=shape, mixed=[last], axes=last_mixed(axes, size))


def mixed(ad: Interpreter, x: Tensor, mask: PositionMask, dims: Sequence[int]) -> PositionMask:
    """The mask of `x` after these dimensions are reduced to size 1."""
    if not dims:  # a permutation
        return mask
    axes = ad.axes(x)
    assert axes is not None
    tau = ad.tau_over(x, dims)
    for dim in dims:
        mask = places_mixed(ad, mask, dim, axes.dims[dim], tau)
    return reduce_positions(mask, mask.kept.shape, dims, tau).mask


def places_mixed(ad: Interpreter, mask: PositionMask, dim: int, axis: Axis, tau: float) -> PositionMask:
    """The positions among the factors of a dimension that is summed over; refused if τ counts what may not be one."""
    if tau and mask.kept.shape[dim] > 1 and any(atom.role is Role.UNKNOWN and atom.size > 1 for atom in axis):
        ad.refuse("sums over a dimension that may hold positions or channels, and with tau > 0 it matters which")
    return places_of(mask, dim, axis)
