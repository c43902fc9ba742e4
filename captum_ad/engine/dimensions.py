"""What each operation makes of its operands' axes.

Operations that are not here work element by element, or on windows: a dimension keeps its role, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_ad.engine.axes import (
    Atom,
    Axes,
    Axis,
    Role,
    axis,
    common_picks,
    copied,
    expanded,
    joined,
    merged,
    permuted,
    reshaped_axes,
    resized,
    role_of,
    without,
)
from captum_ad.engine.registry import forms, key_of_call


@dataclass(frozen=True)
class Call:
    """A call of an operation: its arguments, what their axes are, and one of its results."""

    op: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    of: Callable[[Any], Axes | None]  # None: not computed from features
    out: Tensor
    index: int  # of `out` among several results

    @property
    def x(self) -> Axes:
        """The axes of the first operand that has some."""
        for value in (*self.args, *self.kwargs.values()):
            for one in value if isinstance(value, (list, tuple)) else (value,):
                found = self.of(one)
                if found is not None:
                    return found
        return Axes(tuple(axis(Role.UNKNOWN, size) for size in self.out.shape))

    def given(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument by its place or one of its names."""
        named = [self.kwargs[name] for name in names if name in self.kwargs]
        return named[0] if named else self.args[position] if len(self.args) > position else default


Follow = Callable[[Call], Axes]
_FOLLOW: dict[Hashable, Follow] = {}


def follows(*operations: Any) -> Callable[[Follow], Follow]:
    """Decorator: what these operations make of axes."""

    def decorate(function: Follow) -> Follow:
        for operation in operations:
            for key in forms(operation) if isinstance(operation, str) else [operation]:
                _FOLLOW[key] = function
        return function

    return decorate


def axes_after(call: Call, operands: Sequence[Axes]) -> Axes:
    """The axes of a result; `operands` are those of all that is computed from features."""
    follow = _FOLLOW.get(key_of_call(call.op))
    shape = tuple(call.out.shape)
    if follow is None:
        return operands[0] if len(operands) == 1 and operands[0].shape == shape else elementwise(operands, shape)
    found = follow(call)
    return found if found.shape == shape else unknown(shape, operands)


def is_followed(operation: Any) -> bool:
    """Whether an operation does something else to axes than those that work element by element."""
    return key_of_call(operation) in _FOLLOW


def elementwise(operands: Sequence[Axes], shape: tuple[int, ...]) -> Axes:
    """The axes of a result that is made element by element, or of one operand by windows."""
    fits = all(
        len(axes.dims) <= len(shape) and all(n in (1, out) for n, out in zip(axes.shape[::-1], shape[::-1]))
        for axes in operands
    )
    if operands and fits:
        return merged(tuple(operands), shape)
    if len(operands) != 1 or len(operands[0].dims) != len(shape):
        return unknown(shape, operands)
    x = operands[0]
    lost = any(n != shape[d] for d, n in enumerate(x.shape) if d - len(shape) in x.samples)
    return unknown(shape, operands) if lost else merged((x,), shape)


def unknown(shape: Sequence[int], operands: Sequence[Axes]) -> Axes:
    """Axes of which only the sizes are known."""
    return Axes(
        tuple(axis(Role.UNKNOWN, size) for size in shape),
        common_picks(operands),
        mixed=any(axes.mixed for axes in operands),
    )


@follows("reshape", "view", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "reshape_as", "view_as")
def _reshape(call: Call) -> Axes:
    if call.op is Tensor.view and isinstance(call.given(1, "dtype"), torch.dtype):
        return unknown(call.out.shape, [call.x])
    return reshaped_axes(call.x, tuple(call.out.shape))


_PERMUTE = ("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint")
_TRANSPOSED = [getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH")]


@follows(*_PERMUTE, *_TRANSPOSED)
def _permute(call: Call) -> Axes:
    first = not call.args  # given by name, as input=
    kwargs = {name: value for name, value in call.kwargs.items() if not first or not isinstance(value, Tensor)}
    return permuted(call.x, permutation(call.op, len(call.x.dims), *call.args[1:], **kwargs))


def permutation(op: Callable[..., Tensor], dims: int, *args: Any, **kwargs: Any) -> list[int]:
    """Which dimension each one of the result was, for an operation that makes them change places."""
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
    return replace(x, dims=tuple(dims))


def _times(one: Axis, before: int, after: int) -> Axis:
    """Copies, one after the other: of what is a single index, they are as many of its role."""
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


@follows("chunk", "split", "tensor_split", "narrow")
def _pieces(call: Call) -> Axes:
    x = call.x
    return replace(x, dims=tuple(resized(one, n, contiguous=True) for one, n in zip(x.dims, call.out.shape)))


@follows("roll", "index_select", "gather", "take_along_dim", "sort", "argsort", "topk")
def _reorder(call: Call) -> Axes:
    """Merged dimensions come apart no more."""
    x, name = call.x, call.op.__name__
    place, default = (2, -1) if name == "topk" else (1, -1) if "sort" in name else (1, None)
    over = call.given(2 if name in ("roll", "take_along_dim") else place, "dim", "dims", default=default)
    over = range(len(x.dims)) if over in ((), None) else [over] if isinstance(over, int) else over
    if len(x.dims) != call.out.dim():
        return unknown(call.out.shape, [x])
    dims = [resized(one, n) for one, n in zip(x.dims, call.out.shape)]
    for dim in over:
        dims[dim] = axis(role_of(x.dims[dim]), call.out.shape[dim])
    return replace(x, dims=tuple(dims))


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
