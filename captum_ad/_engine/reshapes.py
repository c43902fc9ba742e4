"""Reshapes and copies: the axes of their results, and reshaping masks that broadcast to a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from captum_ad._engine.axes import Atom, Axes, Axis, Role, axis, joined, role_of


@lru_cache(maxsize=4096)
def reshaped_axes(axes: Axes, shape: tuple[int, ...]) -> Axes:
    """The axes after a reshape, which merges and splits dimensions."""
    dims: list[Axis] = [axis(Role.STATISTIC, size) for size in shape]
    picks = axes.picks
    for ins, outs in groups(axes.shape, shape):
        given = [axes.dims[dim] for dim in ins]
        if all(axes.shape[dim] == 1 for dim in ins):
            for dim, one in zip(outs, given):
                dims[dim] = one
            gone = given[len(outs) :]
            if axes.sample is None and any(atom.role is Role.SAMPLE for one in gone for atom in one):
                picks = (*picks, (Role.SAMPLE, 0))  # the only sample
            continue
        parts = _split([atom for one in given for atom in one], [shape[dim] for dim in outs])
        for dim, part in zip(outs, parts):
            dims[dim] = part
    return replace(axes, dims=tuple(dims), picks=picks)


def _split(atoms: Sequence[Atom], sizes: Sequence[int]) -> list[Axis]:
    """Distribute factors over dimensions of these sizes; if they do not fit, all get the factors' common role."""
    left = [atom for atom in reversed(atoms) if atom.size != 1]
    found: list[Axis] = []
    for size in sizes:
        taken, room = [], size
        while room > 1 and left:
            atom = left.pop()
            part = math.gcd(atom.size, room) if atom.size > room else atom.size
            if not part or room % part or (part < atom.size and part != room):
                role = role_of(tuple(atoms))
                return [axis(role, size) for size in sizes]
            taken.append(atom if part == atom.size else Atom(atom.role, part))
            if part < atom.size:
                left.append(Atom(atom.role, atom.size // part))
            room //= part
        found.append(joined(taken))
    at = next((i for i, atom in enumerate(atoms) if atom == Atom(Role.SAMPLE, 1)), None)
    return found if at is None else _with_only_sample(found, sizes, math.prod(atom.size for atom in atoms[:at]))


def _with_only_sample(found: list[Axis], sizes: Sequence[int], before: int) -> list[Axis]:
    """Insert the factor of a batch of one sample where a larger batch would be: after factors of size `before`."""
    starts = [math.prod(sizes[:dim]) for dim in range(len(sizes))]
    own = [dim for dim, (start, size) in enumerate(zip(starts, sizes)) if start == before and size == 1]
    dim = own[0] if own else max(dim for dim, start in enumerate(starts) if start <= before)
    wide, inner = [atom for atom in found[dim] if atom.size != 1], starts[dim]
    outer = []
    while wide and inner < before:
        inner *= wide[0].size
        outer.append(wide.pop(0))
    return [*found[:dim], (*outer, Atom(Role.SAMPLE, 1), *wide), *found[dim + 1 :]]


def groups(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Pairs of runs of dimensions that a reshape turns into each other: the shortest with equal element counts."""
    if math.prod(old) == 0:
        yield range(len(old)), range(len(new))
        return
    i = j = 0
    while i < len(old) or j < len(new):
        first, onto = i, j
        size = goal = 1
        if i < len(old):
            size, i = old[i], i + 1
        if j < len(new):
            goal, j = new[j], j + 1
        while size != goal:
            if size < goal:
                size, i = size * old[i], i + 1
            else:
                goal, j = goal * new[j], j + 1
        yield range(first, i), range(onto, j)


def reshaped(part: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Reshape a mask that broadcasts to shape `old` so that it broadcasts to `new`; size 1 is kept where possible."""
    before, after = list(part.shape), list(new)
    for ins, outs in groups(old, new):
        if all(part.shape[dim] == 1 for dim in ins):
            for dim in outs:
                after[dim] = 1
        else:
            for dim in ins:
                before[dim] = old[dim]
    return part.expand(before).reshape(after)


def expanded(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes after broadcasting to a shape; new dimensions are statistics."""
    new = len(shape) - len(axes.dims)
    dims = [axis(Role.STATISTIC, size) for size in shape[:new]]
    dims += [copied(one, size) for one, size in zip(axes.dims, shape[new:])]
    return replace(axes, dims=all_over(axes, tuple(dims)))


def all_over(axes: Axes, dims: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The dimensions after copying; if one of the copied dimensions is a position, all of them are positions."""
    back = range(-len(axes.dims), 0)
    copies = [d for d in back if axes.shape[d] == 1 < dims[d][0].size]
    if not any(axes.role(d) is Role.POSITION for d in copies):
        return dims
    return dims[: len(dims) - len(back)] + tuple(
        axis(Role.POSITION, dims[d][0].size) if d in copies and axes.role(d) is Role.STATISTIC else dims[d]
        for d in back
    )


def copied(of: Axis, size: int) -> Axis:
    """A dimension of size 1 after copying; copies of a single sample are a statistic, not more samples."""
    role = role_of(of)
    return of if math.prod(a.size for a in of) == size else axis(Role.STATISTIC if role is Role.SAMPLE else role, size)
