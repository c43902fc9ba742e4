"""The axes of results where values are written or added into a part of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.axes import Axes, Axis, Role, axis, resized, role_of
from captum_ad._engine.dimensions import Call, follows, unknown
from captum_ad._engine.merging import merged, mixes_samples


@follows(Tensor.__setitem__)
def _assign(call: Call) -> Axes:
    value = call.of(call.args[2])
    return _written(call, call.args[0], value and _placed(value, call.args[1], call.out.shape))


@follows("index_put")
def _put(call: Call) -> Axes:
    value, index = call.of(call.given(2, "values")), tuple(call.given(1, "indices"))
    return _written(call, call.given(0, "input"), value and _placed(value, index, call.out.shape))


@follows("select_scatter")
def _write_one(call: Call) -> Axes:
    index = (slice(None),) * (call.given(2, "dim") % call.out.dim()) + (call.given(3, "index"),)
    value = call.of(call.given(1, "src"))
    return _written(call, call.given(0, "input"), value and _placed(value, index, call.out.shape))


@follows("slice_scatter")
def _write_some(call: Call) -> Axes:
    return _written(call, call.given(0, "input"), call.of(call.given(1, "src")))


@follows("diagonal_scatter")
def _write_diagonal(call: Call) -> Axes:
    value, shape = call.of(call.given(1, "src")), call.out.shape
    if value is not None:
        a, b = (call.given(i, name, default=d) % len(shape) for i, name, d in ((3, "dim1", 0), (4, "dim2", 1)))
        left = iter(value.dims)
        dims = tuple(axis(role_of(value.dims[-1]), 1) if d in (a, b) else next(left) for d in range(len(shape)))
        value = replace(value, dims=dims)
    return _written(call, call.given(0, "input"), value)


@follows("masked_scatter")
def _write_in_a_row(call: Call) -> Axes:
    """Elements of the source are written in order, so their roles are unknown."""
    value = call.of(call.given(2, "source"))
    return _written(call, call.given(0, "input"), value and unknown(call.out.shape, [value]))


@follows("scatter", "index_copy", "index_fill", "scatter_add", "index_add", "scatter_reduce", "index_reduce")
def _write_along(call: Call) -> Axes:
    """The index may reorder this dimension of the value, so one that was merged cannot be split anymore."""
    dim, value = call.given(1, "dim"), call.of(call.given(3, "src", "source"))
    if value is not None:
        place = dim % len(value.dims)
        one = axis(role_of(value.dims[place]), value.shape[place])
        mixed = value.mixed or value.crosses_samples([dim])
        value = replace(value, dims=(*value.dims[:place], one, *value.dims[place + 1 :]), mixed=mixed)
    return _written(call, call.given(0, "input"), value)


def _written(call: Call, x: Tensor, value: Axes | None) -> Axes:
    """The axes of `x` after `value`, with as many dimensions, was written into it."""
    shape, own = tuple(call.out.shape), call.of(x)
    if value is not None and len(value.dims) == len(shape):
        value = replace(value, dims=tuple(resized(one, n) for one, n in zip(value.dims, shape)))
    elif value is not None:
        value = unknown(shape, [value])
    both = [axes for axes in (own, value) if axes is not None]
    found = merged(tuple(both), shape) if both else unknown(shape, [])
    return replace(found, mixed=found.mixed or mixes_samples(both))


def _placed(value: Axes, index: Any, shape: Sequence[int]) -> Axes:
    """The axes of a value that is assigned to ``x[index]``, in the dimensions of `x`; unknown for complex indices."""
    given = list(index) if isinstance(index, tuple) else [index]
    at = next((i for i, part in enumerate(given) if part is Ellipsis), len(given))
    used = len(given) - (at < len(given))
    given[at : at + 1] = [slice(None)] * (len(shape) - used)
    numbers = [part for part in given if isinstance(part, int) and not isinstance(part, bool)]
    lines = [part for part in given if isinstance(part, (Tensor, list)) and torch.as_tensor(part).dim() == 1]
    slices = [part for part in given if isinstance(part, slice)]
    if len(numbers) + len(lines) + len(slices) < len(shape) or len(numbers) + len(lines) > 1 or len(given) > len(shape):
        return unknown(shape, [value])
    picks, left = value.picks, list(value.dims)
    dims: list[Axis] = []
    for part in reversed(given):
        if not isinstance(part, int):
            dims.append(left.pop() if left else axis(Role.STATISTIC, 1))
            continue
        dims.append(axis(picks[-1][0] if picks else Role.BRANCH, 1))  # an index taken before, or one of several maps
        picks = picks[:-1]
    if any(size != 1 for size in value.shape[: len(left)]):
        return unknown(shape, [value])
    return replace(value, dims=tuple(reversed(dims)), picks=picks)
