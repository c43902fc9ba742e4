"""The axes of ``x[index]``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.axes import Axes, Axis, Role, axis, resized, role_of, without
from captum_ad._engine.dimensions import Call, follows, unknown
from captum_ad._engine.slices import sliced


@follows("getitem")
def _getitem(call: Call) -> Axes:
    x, shape = call.of(call.args[0]), list(call.out.shape)
    if x is None:  # x is a constant, and the index is computed from features
        return _looked_up(call)
    given = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if any(part is None or isinstance(part, bool) for part in given):  # they make new dimensions
        kept = tuple(part for part in given if part is not None)
        where = _where_new(given, len(x.dims), len(shape))
        if where is None or any(isinstance(part, bool) for part in kept):
            return unknown(shape, [x])
        inner = _indexed(x, kept, [n for d, n in enumerate(shape) if d not in where])
        left = iter(inner.dims)
        dims = tuple(axis(Role.STATISTIC, 1) if d in where else next(left) for d in range(len(shape)))
        return replace(inner, dims=dims)
    return _indexed(x, given, shape)


def _looked_up(call: Call) -> Axes:
    """A table of constants, at an index that is computed from features."""
    index, shape = call.args[1], call.out.shape
    if not isinstance(index, Tensor) or index.dtype in (torch.bool, torch.uint8):
        return unknown(shape, [call.x])
    return replace(call.x, dims=(*call.x.dims, *(axis(Role.CHANNEL, n) for n in shape[index.dim() :])))


def _where_new(given: Sequence[Any], before: int, after: int) -> set[int] | None:
    """The dimensions of the result that are made by None in the index; None if the index also has tensors."""
    if any(not (part is None or part is Ellipsis or isinstance(part, (int, slice))) for part in given):
        return None
    used = sum(part is not None and part is not Ellipsis for part in given)
    found, dim = set(), 0
    for part in given:
        if part is Ellipsis:
            dim += before - used
        elif part is None:
            found.add(dim)
            dim += 1
        else:
            dim += isinstance(part, slice)
    return found


def _indexed(x: Axes, given: Sequence[Any], shape: Sequence[int]) -> Axes:
    """The axes of ``x[given]``, for an index that makes no new dimensions."""
    used = sum(_consumed(part) for part in given if part is not Ellipsis)
    whole = [slice(None)] * (len(x.dims) - used)
    at = next((i for i, part in enumerate(given) if part is Ellipsis), len(given))
    parts = [*given[:at], *whole, *given[at + 1 :]]
    basic = [isinstance(part, (int, slice)) for part in parts]
    if all(basic):
        return _sliced(x, parts, shape)
    dims: list[Axis | None] = []
    chosen: list[Axis] = []
    places, dim = [], 0
    for part in parts:
        if isinstance(part, slice):
            dims.append(x.dims[dim])
        else:
            chosen += x.dims[dim : dim + _consumed(part)]
            places.append(len(dims))
        dim += _consumed(part)
    new = len(shape) - len(dims)
    # Dimensions made by tensors go where these are in the index, or to the front if slices are between them.
    first = places[0] if all(place == places[0] for place in places) else 0
    several = [one for one in chosen if math.prod(atom.size for atom in one) > 1]
    roles = {role_of(one) for one in (several if several and shape[first : first + new] != [1] else chosen)}
    role = next((r for r in (Role.UNKNOWN, Role.SAMPLE, Role.POSITION) if r in roles), role_of(chosen[0]))
    picks = (*x.picks, (Role.POSITION, None)) if Role.POSITION in roles and role is Role.SAMPLE else x.picks
    dims[first:first] = [None] * new
    sized = [axis(role, n) if one is None else resized(one, n) for one, n in zip(dims, shape)]
    return replace(x, dims=tuple(sized), picks=picks)


def _consumed(part: Any) -> int:
    """The number of dimensions that one part of an index consumes."""
    return part.dim() if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) else 1


def _sliced(x: Axes, parts: Sequence[Any], shape: Sequence[int]) -> Axes:
    dim, sizes = 0, iter(shape)
    for part in parts:
        if isinstance(part, slice):
            one = resized(x.dims[dim], next(sizes), contiguous=part.step in (None, 1))
            one = sliced(x.dims[dim], one, part.start or 0, part.step or 1)
            x = replace(x, dims=(*x.dims[:dim], one, *x.dims[dim + 1 :]))
            dim += 1
        else:
            x = without(x, dim, part)
    return x
