"""How each operation changes axes: the functions registered with :func:`follows`.

An operation without such a function is treated as element-wise. If that does not fit the shape of its result, the
result's axes are unknown. (The result of a user's own operation keeps the roles of its input's dimensions.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.axes import (
    Atom,
    Axes,
    Axis,
    Role,
    axis,
    joined,
    permuted,
    resized,
    role_of,
    without,
)
from captum_ad._engine.merging import common_picks, merged
from captum_ad._engine.registry import forms, is_own, key_of_call
from captum_ad._engine.reshapes import all_over, copied, expanded, reshaped_axes
from captum_ad._engine.slices import sliced, start_of_piece


@dataclass(frozen=True)
class Call:
    """A call of an operation: its arguments, their axes, and one of its results."""

    op: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    of: Callable[[Any], Axes | None]  # the axes of an argument; None: it is not computed from features
    out: Tensor
    index: int  # of `out` among several results

    @property
    def x(self) -> Axes:
        """The axes of the first operand that has axes."""
        for value in (*self.args, *self.kwargs.values()):
            for one in value if isinstance(value, (list, tuple)) else (value,):
                found = self.of(one)
                if found is not None:
                    return found
        return Axes(tuple(axis(Role.UNKNOWN, size) for size in self.out.shape))

    def given(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument, by its position or one of its names."""
        named = [self.kwargs[name] for name in names if name in self.kwargs]
        return named[0] if named else self.args[position] if len(self.args) > position else default


Follow = Callable[[Call], Axes]
_FOLLOW: dict[Hashable, Follow] = {}


def follows(*operations: Any) -> Callable[[Follow], Follow]:
    """Decorator: the function computes the axes of these operations' results."""

    def decorate(function: Follow) -> Follow:
        for operation in operations:
            for key in forms(operation) if isinstance(operation, str) else [operation]:
                _FOLLOW[key] = function
        return function

    return decorate


def axes_after(call: Call, operands: Sequence[Axes]) -> Axes:
    """The axes of a result; `operands`: the axes of all operands that are computed from features."""
    follow = _FOLLOW.get(key_of_call(call.op))
    shape = tuple(call.out.shape)
    if follow is None:
        if len(operands) == 1 and operands[0].shape == shape:
            return operands[0]
        return of_own(operands[0], shape) if len(operands) == 1 and is_own(call.op) else elementwise(operands, shape)
    found = follow(call)
    return found if found.shape == shape else unknown(shape, operands)


def is_followed(operation: Any) -> bool:
    """Whether an operation has a function for its axes; otherwise it is treated as element-wise."""
    return key_of_call(operation) in _FOLLOW


def elementwise(operands: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
    """The axes of the result of an element-wise operation; unknown if the shapes do not fit."""
    fits = all(
        len(axes.dims) <= len(shape) and all(n in (1, out) for n, out in zip(axes.shape[::-1], shape[::-1]))
        for axes in operands
    )
    return merged(tuple(operands), shape) if operands and fits else unknown(shape, operands)


def of_own(x: Axes, shape: tuple[int, ...]) -> Axes:
    """The axes of a user's own operation, whose rule does not give them: samples and channels stay."""
    if len(x.dims) == len(shape) or not shape or x.shape[:1] != shape[:1] or role_of(x.dims[0]) is not Role.SAMPLE:
        return windowed(x, shape)
    if any(d + len(x.dims) for d in x.samples):  # another dimension holds samples too
        return unknown(shape, [x])
    same = len(shape) > 1 and x.shape[1:2] == shape[1:2]
    rest = [x.dims[1] if d == 1 and same else axis(Role.UNKNOWN, n) for d, n in enumerate(shape) if d]
    return replace(x, dims=(x.dims[0], *rest), scores=False)


def windowed(x: Axes, shape: tuple[int, ...], first: int = 0) -> Axes:
    """The axes of an operation on windows over the dimensions from `first` on.

    A dimension that is reduced to a single window becomes a statistic.
    """
    if len(x.dims) != len(shape) or any(x.shape[d] != shape[d] for d in x.samples if d + len(shape) >= first):
        return unknown(shape, [x])
    ones = [
        axis(Role.STATISTIC, 1) if d >= first and n == 1 < x.shape[d] else resized(x.dims[d], n)
        for d, n in enumerate(shape)
    ]
    return replace(x, dims=tuple(ones), scores=False)


def unknown(shape: Sequence[int], operands: Sequence[Axes]) -> Axes:
    """Axes of unknown roles, for a result of this shape; several samples count as mixed."""
    return Axes(
        tuple(axis(Role.UNKNOWN, size) for size in shape),
        common_picks(operands),
        mixed=any(axes.mixed or axes.samples for axes in operands),
    )


@follows("reshape", "view", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "reshape_as", "view_as")
def _reshape(call: Call) -> Axes:
    if call.op is Tensor.view and isinstance(call.given(1, "dtype"), torch.dtype):
        return unknown(call.out.shape, [call.x])
    return reshaped_axes(call.x, tuple(call.out.shape))


_NAMES = ("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint")
PERMUTE = (*_NAMES, *(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH")))
"""Operations that permute dimensions."""


@follows(*PERMUTE)
def _permute(call: Call) -> Axes:
    first = not call.args  # the operand is given by name, as input=
    kwargs = {name: value for name, value in call.kwargs.items() if not first or not isinstance(value, Tensor)}
    return permuted(call.x, permutation(call.op, len(call.x.dims), *call.args[1:], **kwargs))


def permutation(op: Callable[..., Tensor], dims: int, *args: Any, **kwargs: Any) -> list[int]:
    """For each dimension of the result, the dimension of the operand that it was."""
    probe = torch.empty(list(range(2, 2 + dims)), device="meta")
    return [size - 2 for size in op(probe, *args, **kwargs).shape]


@follows("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Axes:
    return expanded(call.x, call.out.shape)


@follows("repeat", "tile")
def _repeat(call: Call) -> Axes:
    x, shape = call.x, call.out.shape
    new = len(shape) - len(x.dims)
    dims = [axis(Role.STATISTIC, size) for size in shape[:new]]
    for one, before, after in zip(x.dims, x.shape, shape[new:]):
        dims.append(one if before == after else _times(one, before, after))
    return replace(x, dims=all_over(x, tuple(dims)))


def _times(one: Axis, before: int, after: int) -> Axis:
    """Copies of a dimension, one after the other; copies of a single index keep its role."""
    if before <= 1:
        return copied(one, after)
    return joined((Atom(Role.STATISTIC, after // before), *one))


@follows("repeat_interleave")
def _interleave(call: Call) -> Axes:
    x, shape = call.x, call.out.shape
    if len(x.dims) != len(shape):
        return unknown(shape, [x])
    dims = []
    for one, before, after in zip(x.dims, x.shape, shape):
        whole = before > 1 and after % before == 0
        dims.append(joined((*one, Atom(Role.STATISTIC, after // before))) if whole else copied(one, after))
    return replace(x, dims=tuple(dims))


@follows("interpolate", "pad", *(f"max_unpool{n}d" for n in (1, 2, 3)))
def _other_sizes(call: Call) -> Axes:
    x, shape = call.x, tuple(call.out.shape)
    if len(x.dims) != len(shape) or any(x.shape[d] != shape[d] for d in x.samples):
        return unknown(shape, [x])
    return replace(x, dims=tuple(resized(one, n) for one, n in zip(x.dims, shape)))


@follows("chunk", "split", "tensor_split", "narrow", "diff", "glu")
@follows("split_with_sizes", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes")
def _pieces(call: Call) -> Axes:
    x = call.x
    dims = [resized(one, n, contiguous=True) for one, n in zip(x.dims, call.out.shape)]
    kwargs = {name: value for name, value in call.kwargs.items() if name not in ("input", "self")}
    for dim, (one, new) in enumerate(zip(x.dims, dims)):
        if new != one and role_of(new) is Role.POSITION and call.op.__name__ not in ("diff", "glu"):  # of two pieces
            start = start_of_piece(lambda line: call.op(line, *call.args[1:], **kwargs), x.shape, dim, call.index)
            dims[dim] = sliced(one, new, start, 1)
    return replace(x, dims=tuple(dims))


@follows("roll", "index_select", "gather", "take_along_dim", torch.fft.fftshift, torch.fft.ifftshift)
def _reorder(call: Call) -> Axes:
    """The indices are reordered, so dimensions that were merged cannot be split anymore."""
    x = call.x
    over = call.given(2 if call.op.__name__ in ("roll", "take_along_dim") else 1, "dim", "dims")
    over = range(len(x.dims)) if over in ((), None) else [over] if isinstance(over, int) else over
    if len(x.dims) != call.out.dim():
        return unknown(call.out.shape, [x])
    dims = [resized(one, n) for one, n in zip(x.dims, call.out.shape)]
    for dim in over:
        dims[dim] = axis(role_of(x.dims[dim]), call.out.shape[dim])
    return replace(x, dims=tuple(dims))


@follows("rot90")
def _quarter_turns(call: Call) -> Axes:
    """An odd number of turns swaps two dimensions."""
    a, b = call.given(2, "dims", default=(0, 1))
    order = list(range(len(call.x.dims)))
    if call.given(1, "k", default=1) % 2:
        order[a], order[b] = order[b], order[a]
    return permuted(call.x, order)


@follows("unbind", "select")
def _pick(call: Call) -> Axes:
    dim = call.given(1, "dim", default=0)
    return without(call.x, dim, call.index if "unbind" in call.op.__name__ else call.given(2, "index"))


@follows(Tensor.unfold)
def _windows(call: Call) -> Axes:
    dim, shape = call.given(1, "dimension"), call.out.shape
    x = call.x
    one = x.dims[dim]
    dims = [resized(axis_, n) for axis_, n in zip(x.dims, shape)]
    return replace(x, dims=(*dims, axis(role_of(one), shape[-1])))


@follows(torch.nn.functional.unfold)
def _im2col(call: Call) -> Axes:
    x, shape = call.x, call.out.shape
    channels = x.shape[-3]
    window = joined((Atom(Role.CHANNEL, channels), Atom(Role.POSITION, shape[-2] // max(channels, 1))))
    return replace(x, dims=(*x.dims[:-3], window, axis(Role.POSITION, shape[-1])))


@follows(torch.nn.functional.fold)
def _col2im(call: Call) -> Axes:
    roles = (Role.CHANNEL, Role.POSITION, Role.POSITION)
    spatial = [axis(role, size) for role, size in zip(roles, call.out.shape[-3:])]
    return replace(call.x, dims=(*call.x.dims[:-2], *spatial))


@follows("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def _shuffle(call: Call) -> Axes:
    x, n = call.x, call.args[1] if len(call.args) > 1 else list(call.kwargs.values())[-1]
    name = call.op.__name__
    if "channel" in name:
        c = x.shape[1] // n
        split = reshaped_axes(x, (x.shape[0], n, c, *x.shape[2:]))
        order = [0, 2, 1, *range(3, len(split.dims))]
    else:
        *lead, c, h, w = x.shape
        lead_dims = list(range(len(lead)))
        k = len(lead)
        if name == "pixel_shuffle":
            split, places = reshaped_axes(x, (*lead, c // n**2, n, n, h, w)), (0, 3, 1, 4, 2)
        else:
            split, places = reshaped_axes(x, (*lead, c, h // n, n, w // n, n)), (0, 2, 4, 1, 3)
        order = lead_dims + [k + place for place in places]
    return reshaped_axes(permuted(split, order), tuple(call.out.shape))


@follows("diagonal")
def _diagonal(call: Call) -> Axes:
    x = call.x
    a, b = (call.given(i, name, default=d) % len(x.dims) for i, name, d in ((2, "dim1", 0), (3, "dim2", 1)))
    rest = tuple(one for dim, one in enumerate(x.dims) if dim not in (a, b))
    role = role_of(joined((*x.dims[a], *x.dims[b])))
    return replace(x, dims=(*rest, axis(role, call.out.shape[-1])), scores=False)
