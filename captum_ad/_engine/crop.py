"""Speed: a part of a tensor, that is, its values in a box outside of which everything is known.

A result of which only a part has been computed is uninitialized memory. Operations that are computed by parts
(:mod:`captum_ad._engine.parts`) read and write only the parts. Before any other operation, the part and the known
values around it are written into the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

WORTHWHILE = 0.6
"""The largest share of a tensor that a box may have for skipping the rest to be worthwhile."""

SMALLEST = 2**16
"""The smallest number of elements for which computing a part is worthwhile."""


@dataclass(frozen=True)
class Box:
    """The same box for all samples: ``sides[dim]`` is (start, end) along `dim`, counted from 0.

    A dimension without a side is not restricted.
    """

    sides: Mapping[int, tuple[int, int]]

    @property
    def dims(self) -> Collection[int]:
        """The dimensions that the box restricts."""
        return self.sides.keys()

    def of(self, x: Tensor, dims: int | None = None) -> Tensor:
        """The part of `x` in the box; `x` may broadcast to the tensor of `dims` dimensions that the box is for."""
        missing = 0 if dims is None else dims - x.dim()
        for dim, (start, end) in self.sides.items():
            if dim >= missing and x.shape[dim - missing] > 1:
                x = x.narrow(dim - missing, start, end - start)
        return x

    def share(self, shape: Sequence[int]) -> float:
        """The share of a tensor's elements that is in the box."""
        return math.prod((end - start) / shape[dim] for dim, (start, end) in self.sides.items())

    def along(self, dims: Iterable[int]) -> Box:
        """The box with only its sides along these dimensions."""
        return Box({dim: side for dim, side in self.sides.items() if dim in dims})

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        both = self.sides.keys() & other.sides.keys()
        ends = {dim: (self.sides[dim], other.sides[dim]) for dim in both}
        return Box({dim: (min(a[0], b[0]), max(a[1], b[1])) for dim, (a, b) in ends.items()})

    def permuted(self, order: Sequence[int]) -> Box:
        """The box after ``x.permute(order)``."""
        return Box({new: self.sides[old] for new, old in enumerate(order) if old in self.sides})


@dataclass(frozen=True)
class Boxes:
    """One box per sample (dimension 0): all have the same size, each its own place.

    Parameters
    ----------
    starts : mapping of int to sequence of int
        For each restricted dimension, the start of the box of each sample. Other dimensions are not restricted.
    sizes : mapping of int to int
        The size of the boxes along each restricted dimension.
    empty : frozenset of int
        Samples of which everything is known without the box.
    """

    starts: Mapping[int, Sequence[int]]
    sizes: Mapping[int, int]
    empty: frozenset[int] = frozenset()

    @property
    def dims(self) -> Collection[int]:
        """The dimensions that the boxes restrict."""
        return self.starts.keys()

    @cached_property
    def count(self) -> int:
        """The number of samples."""
        return len(next(iter(self.starts.values())))

    def of(self, x: Tensor, dims: int | None = None) -> Tensor:
        """The part of `x` in the boxes; `x` may broadcast to the tensor of `dims` dimensions that they are for."""
        missing = 0 if dims is None else dims - x.dim()
        inside = [dim for dim in self.starts if dim >= missing and x.shape[dim - missing] > 1]
        if not inside:
            return x
        return self.along(inside).of_whole(x[(None,) * missing])

    def of_whole(self, x: Tensor) -> Tensor:
        """The part of `x` in the boxes, 0 past its edges; `x` has the size of the tensor along all their sides."""
        return assembled(self, [self.sizes.get(dim, size) for dim, size in enumerate(x.shape)], [(None, x)])

    def share(self, shape: Sequence[int]) -> float:
        """The share of a tensor's elements that is in the boxes."""
        return math.prod(size / shape[dim] for dim, size in self.sizes.items())

    def along(self, dims: Iterable[int]) -> Boxes:
        """The boxes with only their sides along these dimensions."""
        kept = [dim for dim in self.starts if dim in dims]
        return Boxes({d: self.starts[d] for d in kept}, {d: self.sizes[d] for d in kept}, self.empty)

    def permuted(self, order: Sequence[int]) -> Boxes:
        """The boxes after ``x.permute(order)``."""
        moved = {new: old for new, old in enumerate(order) if old in self.starts}
        starts = {new: self.starts[old] for new, old in moved.items()}
        return Boxes(starts, {new: self.sizes[old] for new, old in moved.items()}, self.empty)

    def over(self, dims: Iterable[int], shape: Sequence[int]) -> Boxes:
        """The same boxes, with full sides added along these dimensions of a tensor of this shape."""
        more = [dim for dim in dims if dim not in self.starts]
        starts = {**self.starts, **dict.fromkeys(more, (0,) * self.count)}
        return Boxes(starts, {**self.sizes, **{dim: shape[dim] for dim in more}}, self.empty)

    def union(self, other: Boxes, shape: Sequence[int]) -> Boxes:
        """Boxes of a tensor of this shape that contain both."""
        starts, sizes = {}, {}
        for dim in self.starts:
            if dim in other.starts:
                ranges = [
                    (
                        min(boxes.starts[dim][i] for boxes in (self, other)),
                        max(boxes.starts[dim][i] + boxes.sizes[dim] for boxes in (self, other)),
                    )
                    for i in range(self.count)
                ]
                starts[dim], sizes[dim] = fitted(ranges, shape[dim])
        return Boxes(starts, sizes, self.empty & other.empty)


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor; a row is all of the last dimension.

    Parameters
    ----------
    index : Tensor
        Flat indices of the rows over the dimensions before the last, int64, shape (rows,).
    leading : tuple of int
        The sizes of all dimensions before the last.
    """

    index: Tensor
    leading: tuple[int, ...]

    def of(self, x: Tensor) -> Tensor:
        """These rows of `x`, shape (1, ..., 1, rows, size), with as many dimensions as `x`."""
        found = x.reshape(-1, x.shape[-1])[self.index]
        return found.reshape(*(1,) * (x.dim() - 2), *found.shape)


def fitted(ranges: Sequence[tuple[int, int]], length: int) -> tuple[tuple[int, ...], int]:
    """The starts and the common size of ranges that contain these (start, end) ranges, within a dimension."""
    size = min(length, max(1, *(end - start for start, end in ranges)))
    return tuple(max(0, min(start, length - size)) for start, _ in ranges), size


class Part(NamedTuple):
    """The values of a tensor in a box.

    Outside of the box, the values are those of `outside` (for one sample); if it is None, they are dead or zero.
    """

    box: Box | Boxes | Rows
    values: Tensor
    outside: Tensor | None = None

    def in_box(self, box: Box | Boxes, shape: Sequence[int], beyond: float = 0.0) -> Tensor:
        """The values in another box of a tensor of this shape; `beyond` is the value past the tensor's edges."""
        if isinstance(self.box, Boxes) and isinstance(box, Boxes):
            if self.box.starts == box.starts and self.box.sizes == box.sizes:
                return self.values
            box = box.over(self.box.starts, shape)
            sizes = [box.count, *(box.sizes.get(dim, size) for dim, size in enumerate(shape) if dim)]
            return assembled(box, sizes, [(None, self.outside), (self.box, self.values)], shape, beyond)
        assert isinstance(self.box, Box)
        assert isinstance(box, Box)
        sides = [[b.sides.get(dim, (0, size)) for b in (self.box, box)] for dim, size in enumerate(shape)]
        if any(want[0] >= have[1] or have[0] >= want[1] for have, want in sides):
            return self.values.new_zeros([want[1] - want[0] for _, want in sides])
        margins = [margin for have, want in reversed(sides) for margin in (have[0] - want[0], want[1] - have[1])]
        return F.pad(self.values, margins) if any(margins) else self.values

    def write_into(self, x: Tensor) -> None:
        """Write the part and the known values around it into its tensor."""
        if self.outside is None:
            x.zero_()
            if isinstance(self.box, Rows):
                x.view(-1, x.shape[-1])[self.box.index] = self.values.view(-1, x.shape[-1])
            else:
                self.box.of(x).copy_(self.values)
            return
        assert isinstance(self.box, Boxes)
        x.copy_(self.outside)
        for sample in range(self.box.count):
            if sample not in self.box.empty:
                index = [slice(None)] * (x.dim() - 1)
                for dim, starts in self.box.starts.items():
                    index[dim - 1] = slice(starts[sample], starts[sample] + self.box.sizes[dim])
                x[sample][tuple(index)] = self.values[sample]


def assembled(
    want: Boxes,
    sizes: Sequence[int],
    sources: Sequence[tuple[Boxes | None, Tensor | None]],
    shape: Sequence[int] | None = None,
    beyond: float = 0.0,
) -> Tensor:
    """Copy the boxes `want` out of several sources; a later source overwrites earlier ones.

    Parameters
    ----------
    want : Boxes
        The boxes to return.
    sizes : sequence of int
        The shape of the result; the first size is ignored, because `want` has the number of samples.
    sources : sequence of (Boxes or None, Tensor or None)
        The boxes of each source and its values; None for a source that is whole. Sources without values are skipped.
    shape : sequence of int, optional
        The shape of the tensor that the boxes are in, if it is not that of the last source.
    beyond : float
        The value where no source has one.
    """
    last = sources[-1][1]
    assert last is not None
    out = room_for(last, [want.count, *sizes[1:]])
    limits = {dim: (shape or last.shape)[dim] for dim in want.starts}
    if any(min(s) < 0 or max(s) + want.sizes[d] > limits[d] for d, s in want.starts.items()):
        out.fill_(beyond)
    for box, values in sources:
        if values is None:
            continue
        lines = []
        for dim in want.starts:
            here, length = want.starts[dim], want.sizes[dim]
            there, extent = (box.starts[dim], box.sizes[dim]) if box and dim in box.starts else (None, limits[dim])
            lines.append((dim - 1, here, length, there, extent))
        for sample in range(want.count):
            into: list[slice] = [slice(None)] * (out.dim() - 1)
            of = list(into)
            for dim, here, length, there, extent in lines:
                a, b = here[sample], 0 if there is None else there[sample]
                low, high = max(a, b), min(a + length, b + extent)
                if low >= high:
                    break
                into[dim], of[dim] = slice(low - a, high - a), slice(low - b, high - b)
            else:
                out[sample][tuple(into)] = values[sample if len(values) > 1 else 0][tuple(of)]
    return out


def bounding_box(there: NDArray[Any]) -> Box | None:
    """The smallest box that holds every True; None if there is none. `there` has no batch dimension."""
    sides = {}
    axes = range(there.ndim)
    for axis, size in enumerate(there.shape):
        if size == 1:
            continue
        (found,) = np.nonzero(there.any(tuple(other for other in axes if other != axis)))
        if not len(found):
            return None
        side = int(found[0]), int(found[-1]) + 1
        if side != (0, size):
            sides[axis + 1] = side
    return Box(sides)


def room_for(part: Tensor, shape: Sequence[int]) -> Tensor:
    """Uninitialized memory for a tensor of this shape, in the memory format of `part`."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(part.dim())
    if last is None or part.is_contiguous() or not part.is_contiguous(memory_format=last):
        last = torch.contiguous_format
    return torch.empty(tuple(shape), dtype=part.dtype, device=part.device, memory_format=last)
