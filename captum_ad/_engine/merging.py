"""The axes of several operands together: what they say of the result, and what one is to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from captum_ad._engine.axes import Atom, Axes, Axis, Pick, Role, axis, resized, role_of


@lru_cache(maxsize=4096)
def merged(operands: tuple[Axes, ...], shape: tuple[int, ...]) -> Axes:
    """The axes of the result of an element-wise operation on operands that broadcast to `shape`."""
    dims = []
    for back, size in zip(range(-len(shape), 0), shape):
        ones = [axes.dims[back] for axes in operands if -back <= len(axes.dims)]
        sizes = [math.prod(atom.size for atom in one) for one in ones]
        wide = [one for one, own in zip(ones, sizes) if own == size] or ones
        dims.append(resized(_chosen(wide), size) if wide else axis(Role.STATISTIC, size))
    picks = common_picks(operands)
    if any(not axes.picked and any(axes.shape[d] > 1 for d in axes.positions) for axes in operands):
        picks = tuple(pick for pick in picks if pick[0] is not Role.POSITION)  # with a map, the result is a map
    return Axes(
        tuple(dims),
        picks,
        any(axes.scores for axes in operands),
        any(axes.mixed for axes in operands),
    )


def common_picks(operands: Iterable[Axes]) -> tuple[Pick, ...]:
    """The `picks` of a result of these operands."""
    given = sorted({axes.picks for axes in operands}, key=len)
    if not given:
        return ()
    longest = given[-1]
    for picks in given:
        if [role for role, _ in picks] != [role for role, _ in longest[: len(picks)]]:
            return (*longest, (Role.UNKNOWN, None))
    same = [{picks[i][1] for picks in given if len(picks) > i} for i in range(len(longest))]
    return tuple((role, index if len(same[i]) == 1 else None) for i, (role, index) in enumerate(longest))


_RANK = [Role.UNKNOWN, Role.STATISTIC, Role.BRANCH, Role.PIECE, Role.CHANNEL, Role.POSITION, Role.SAMPLE]


def _chosen(ones: Sequence[Axis]) -> Axis:
    """The most specific of these axes: for a map and a statistic the map's; for two different slices, no slice."""

    def says(one: Axis) -> tuple[int, bool, list[int]]:
        ranks = sorted((_RANK.index(atom.role) for atom in one), reverse=True)
        return ranks[0], role_of(one) is not Role.UNKNOWN, ranks

    best = max(ones, key=says)
    whole = tuple(Atom(*atom[:2]) for atom in best)
    return best if all(one == best or [a[:2] for a in one] != [a[:2] for a in best] for one in ones) else whole


def mixes_samples(operands: Sequence[Axes]) -> bool:
    """Whether an element-wise operation on these operands combines different samples of the batch."""
    places = {axes.sample_places for axes in operands if axes.samples}
    alone = {axes.sample for axes in operands if axes.sample is not None}
    if len(places) > 1 or len(alone) > 1 or (places and alone):
        return True
    apart = any(not axes.mixed and (axes.samples or axes.sample is not None) for axes in operands)
    return apart and any(axes.mixed or axes.hides_samples for axes in operands)


def is_statistic_of(x: Axes, other: Axes) -> bool | None:
    """Whether `x` has one value for all positions of `other` along some dimension; None if that is unclear.

    Such an operand (a pooled vector, a gate, the mean of each row) has no position of its own there: it neither revives
    a dead position of `other` nor counts as a contribution. Nor does a bias that is added to attention scores.
    """
    if other.scores and not x.scores:
        return True
    if x.picked or x.scores or _is_one_of(x, other):
        return False
    if not other.positions:
        unclear = any(atom.role is Role.UNKNOWN and atom.size > 1 for one in other.dims for atom in one)
        return None if unclear and x.is_vector else False
    unknown = {
        d - len(x.dims) for d, one in enumerate(x.dims) if any(a.role is Role.UNKNOWN and a.size > 1 for a in one)
    }
    if unknown & other.positions:
        return None
    return x.positions < other.positions


def _is_one_of(x: Axes, other: Axes) -> bool:
    """Whether `x` has a single position, sliced out of a map, in a dimension where `other` has several."""
    alone = (d for d in x.positions if x.shape[d] == 1 and role_of(x.dims[d]) is Role.POSITION)
    return any(d in other.positions and other.shape[d] > 1 for d in alone)
