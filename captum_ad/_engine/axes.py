"""What the dimensions of a tensor are: samples, channels, positions, or a statistic (one value for all positions).

Every tensor computed from features has :class:`Axes`, derived operation by operation and never guessed from sizes.
So two ways to write the same network get the same masks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from itertools import groupby
from typing import NamedTuple


class Role(Enum):
    """What one index of a dimension stands for."""

    SAMPLE = "sample"
    POSITION = "position"
    CHANNEL = "channel"
    BRANCH = "branch"  # one of several maps that were stacked
    PIECE = "piece"  # one of several different slices of a map that were stacked: each has positions of its own
    STATISTIC = "statistic"  # nothing of its own: the same value holds at every index
    UNKNOWN = "unknown"


class Slice(NamedTuple):
    """Which indices of a dimension of this `size` were taken: `start`, `start + step`, and so on."""

    start: int
    step: int
    size: int


class Atom(NamedTuple):
    """A dimension, or one factor of a merged dimension: `size` indices of one role."""

    role: Role
    size: int
    taken: tuple[Slice, ...] = ()  # for positions of a slice: which slice; one entry per merged dimension


Axis = tuple[Atom, ...]
"""A dimension: its factors, outermost first. Their sizes multiply to the size of the dimension."""

Pick = tuple[Role, int | None]


@dataclass(frozen=True)
class Axes:
    """What the dimensions of a tensor are.

    Parameters
    ----------
    dims : tuple of Axis
        One per dimension.
    picks : tuple of (Role, int or None)
        For each dimension that was removed by taking a single index (``x[:, 0]``): its role and the index.
        The index is None after operands with different indices were combined.
    scores : bool
        Whether the tensor holds attention scores: how much positions attend to positions.
    mixed : bool
        Whether the tensor was computed from several samples of the batch.
    """

    dims: tuple[Axis, ...]
    picks: tuple[Pick, ...] = ()
    scores: bool = False
    mixed: bool = False

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return tuple(math.prod(atom.size for atom in axis) for axis in self.dims)

    @cached_property
    def samples(self) -> frozenset[int]:
        """The dimensions that hold several samples, counted from the last one (-1)."""
        return frozenset(dim for dim, _ in self.sample_places)

    @cached_property
    def positions(self) -> frozenset[int]:
        """The dimensions that hold positions, counted from the last one (-1)."""
        return frozenset(
            d - len(self.dims) for d, one in enumerate(self.dims) if any(a.role is Role.POSITION for a in one)
        )

    @cached_property
    def sample_places(self) -> frozenset[tuple[int, int]]:
        """The dimensions that hold several samples, each with the number of consecutive indices per sample."""
        return frozenset(
            (dim - len(self.dims), math.prod(atom.size for atom in one[at + 1 :]))
            for dim, one in enumerate(self.dims)
            for at, atom in enumerate(one)
            if atom.role is Role.SAMPLE and atom.size > 1
        )

    @property
    def sample(self) -> int | None:
        """The index of the sample that the tensor belongs to, if one was taken out of the batch; else None."""
        return next((index for role, index in self.picks if role is Role.SAMPLE), None)

    @property
    def hides_samples(self) -> bool:
        """Whether samples may be hidden in a dimension of unknown role, or in an index taken from one."""
        roles = {atom.role for one in self.dims for atom in one} | {role for role, _ in self.picks}
        return Role.UNKNOWN in roles and Role.SAMPLE not in roles

    def crosses_samples(self, dims: Iterable[int]) -> bool:
        """Whether an operation along these dimensions combines samples of the batch, or may do so."""
        back = {dim % len(self.dims) - len(self.dims) for dim in dims}
        return bool(back & self.samples) or (self.hides_samples and any(self.role(dim) is Role.UNKNOWN for dim in back))

    @property
    def picked(self) -> bool:
        """Whether the tensor is a single position taken out of a map: then it is neither a statistic nor a map."""
        return any(role in (Role.POSITION, Role.UNKNOWN) for role, _ in self.picks)

    @property
    def is_vector(self) -> bool:
        """Whether no dimension holds positions, except perhaps the last: one vector per sample."""
        return not self.picked and all(atom.role in _NO_PLACE for one in self.dims[:-1] for atom in one)

    @property
    def has_no_place(self) -> bool:
        """Whether no dimension holds positions."""
        return not self.picked and all(atom.role in _NO_PLACE for one in self.dims for atom in one)

    def sample_numbers(self, dims: int) -> tuple[int, list[int], int] | None:
        """The dimension of the samples, the sample of each index there, and the number of samples; None if unclear."""
        held = [d for d, one in enumerate(self.dims) if any(atom.role is Role.SAMPLE for atom in one)]
        if len(held) != 1 or len(self.dims) != dims or sum(a.role is Role.SAMPLE for a in self.dims[held[0]]) != 1:
            return None
        one = self.dims[held[0]]
        at = next(i for i, atom in enumerate(one) if atom.role is Role.SAMPLE)
        inner, size = math.prod(atom.size for atom in one[at + 1 :]), one[at].size
        return held[0], [j // max(inner, 1) % max(size, 1) for j in range(self.shape[held[0]])], size

    def role(self, dim: int) -> Role:
        """The role of a dimension, as :func:`role_of`."""
        return role_of(self.dims[dim])


_NO_PLACE = frozenset((Role.SAMPLE, Role.CHANNEL, Role.BRANCH, Role.PIECE, Role.STATISTIC))


def axis(role: Role, size: int) -> Axis:
    """A dimension of one role."""
    return (Atom(role, size),)


def role_of(of: Axis) -> Role:
    """The role that all factors of a dimension share, else unknown.

    Copies (statistics) do not count beside another role, except that of samples. Whole maps with channels are channels.
    """
    roles = {atom.role for atom in of if atom.size != 1} or {atom.role for atom in of}
    if len(roles) > 1 and Role.SAMPLE not in roles:
        roles.discard(Role.STATISTIC)
    if roles == {Role.CHANNEL, Role.BRANCH}:
        return Role.CHANNEL
    return roles.pop() if len(roles) == 1 else Role.UNKNOWN


def joined(atoms: Iterable[Atom]) -> Axis:
    """Merge factors into one dimension, with neighbors of one role joined and factors of size 1 dropped."""
    given = tuple(atoms)
    wide = [atom for atom in given if atom.size != 1]
    if not wide:
        return given[:1] or axis(Role.STATISTIC, 1)
    return tuple(_joined(role, list(run)) for role, run in groupby(wide, key=lambda atom: atom.role))


def _joined(role: Role, run: Sequence[Atom]) -> Atom:
    taken = [one for atom in run for one in atom.taken or (Slice(0, 1, atom.size),)]
    return Atom(role, math.prod(atom.size for atom in run), tuple(taken) if any(atom.taken for atom in run) else ())


def resized(of: Axis, size: int, *, contiguous: bool = False) -> Axis:
    """A dimension after its number of indices changed to `size`; `contiguous`: the indices left are consecutive."""
    if math.prod(atom.size for atom in of) == size:
        return of
    role = role_of(of)
    inner = math.prod(atom.size for atom in of[1:])
    if len(of) > 1 and contiguous and inner and size % inner == 0 and size // inner > 1:
        return joined((Atom(of[0].role, size // inner), *of[1:]))
    return axis(Role.UNKNOWN if role is Role.SAMPLE and not contiguous and inner != 1 else role, size)


def permuted(axes: Axes, order: Sequence[int]) -> Axes:
    """The axes after the dimensions are permuted."""
    return replace(axes, dims=tuple(axes.dims[dim] for dim in order))


def without(axes: Axes, dim: int, index: int | None = None) -> Axes:
    """The axes after one index of a dimension is taken, which removes that dimension."""
    gone = axes.dims[dim]
    rest = axes.dims[:dim] + axes.dims[dim % len(axes.dims) + 1 :]
    role = role_of(gone)
    if role is Role.SAMPLE and any(atom.role is Role.SAMPLE for one in rest for atom in one):
        role = Role.UNKNOWN  # the samples are spread over several dimensions
    if role is Role.STATISTIC or (role is Role.POSITION and axes.shape[dim] == 1):
        return replace(axes, dims=rest)
    return replace(axes, dims=rest, picks=(*axes.picks, (role, index)))


def reduced(axes: Axes, dims: Iterable[int], keepdim: bool) -> Axes:
    """The axes after these dimensions (counted from 0) are each reduced to one value."""
    over = set(dims)
    mixed = axes.mixed or axes.crosses_samples(over)
    if keepdim:
        left = [axis(Role.STATISTIC, 1) if dim in over else one for dim, one in enumerate(axes.dims)]
    else:
        left = [one for dim, one in enumerate(axes.dims) if dim not in over]
    return replace(axes, dims=tuple(left), scores=False, mixed=mixed)
