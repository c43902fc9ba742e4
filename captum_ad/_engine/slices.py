"""Windows written as slices: slices of a map that are concatenated as channels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from captum_ad._engine.axes import Atom, Axes, Axis, Role, Slice, axis, joined


def sliced(before: Axis, after: Axis, start: object, step: object) -> Axis:
    """The axis `after` of a slice of the dimension `before`, with a note of which positions it holds."""
    if len(before) != 1 or len(after) != 1 or before[0].role is not Role.POSITION or len(before[0].taken) > 1:
        return after
    if before == after or not (isinstance(start, int) and isinstance(step, int)):
        return after
    (outer,) = before[0].taken or (Slice(0, 1, before[0].size),)
    first = start if start >= 0 else max(start + before[0].size, 0)
    taken = Slice(outer.start + outer.step * first, outer.step * step, outer.size)
    return (after[0]._replace(taken=(taken,)),)


def with_windows(together: Axes, maps: Sequence[Axes], dim: int) -> Axes:
    """The axes of maps that were joined along a dimension, if they are different slices of maps of one size.

    Channels then hold positions as well, as after ``pixel_unshuffle``: one per different slice. Branches are then
    pieces. If the slices are of the same positions, or differ in width, nothing changes.
    """
    one = maps[0].dims[dim]
    places = [_places(axes, dim) for axes in maps]
    different = list(dict.fromkeys(places))
    if len(different) < 2 or not _all_comparable(different) or any(axes.dims[dim] != one for axes in maps):
        return together
    times, role = len(maps) // len(different), together.role(dim)
    position, channel = Atom(Role.POSITION, len(different)), Atom(Role.CHANNEL, times)
    if role is Role.BRANCH and times == 1 and together.shape[dim] == len(maps):
        windows: Axis = axis(Role.PIECE, len(maps))
    elif any(atom.role not in (Role.CHANNEL, Role.POSITION, Role.BRANCH, Role.PIECE) for atom in one):
        return together
    elif places == different * times:
        windows = joined((channel, position, *one))
    elif places == [place for place in different for _ in range(times)]:
        windows = joined((position, channel, *one))
    else:
        return together
    return replace(together, dims=(*together.dims[:dim], windows, *together.dims[dim + 1 :]))


def start_of_piece(op: Callable[[torch.Tensor], Any], shape: Sequence[int], dim: int, index: int) -> int:
    """The first index, along `dim`, of piece number `index` when `op` splits a tensor of this shape."""
    found = op(torch.arange(shape[dim]).reshape([size if d == dim else 1 for d, size in enumerate(shape)]))
    piece = found if isinstance(found, torch.Tensor) else found[index]
    return int(piece.flatten()[0]) if piece.numel() else 0


def _places(axes: Axes, dim: int) -> tuple[tuple[Slice, ...], ...]:
    """The slices taken of the positions of every dimension except `dim`."""
    others = (one for d, one in enumerate(axes.dims) if d != dim)
    return tuple(atom.taken for one in others for atom in one if atom.role is Role.POSITION)


def _all_comparable(places: Collection[tuple[tuple[Slice, ...], ...]]) -> bool:
    """Whether these are slices of maps of the same sizes."""
    return len({tuple(tuple(one.size for one in taken) for taken in place) for place in places}) == 1
