"""A part of a tensor: what it holds in a box, beside which everything is known.

A result whose part is known is memory that nobody has written yet. Operations that are computed by parts
(:mod:`captum_ad._engine.parts`) read and write parts alone; for every other operation the part is written into its
tensor first, with what is known around it.
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
"""The largest share of a tensor that a box may hold for the rest to be skipped."""

SMALLEST = 2**16
"""The number of elements from which on a tensor is worth the effort."""


@dataclass(frozen=True)
class Box:
    """Start and end along some dimensions, the first of all counted as 0; all of the others. One for all samples."""

    sides: Mapping[int, tuple[int, int]]

    @property
    def dims(self) -> Collection[int]:
        """The dimensions of which it does not hold all."""
        return self.sides.keys()

    def of(self, x: Tensor, dims: int | None = None) -> Tensor:
        """That part of a tensor, or of what broadcasts to one of `dims` dimensions."""
        missing = 0 if dims is None else dims - x.dim()
        for dim, (start, end) in self.sides.items():
            if dim >= missing and x.shape[dim - missing] > 1:
                x = x.narrow(dim - missing, start, end - start)
        return x

    def share(self, shape: Sequence[int]) -> float:
        """How much of a tensor it holds."""
        return math.prod((end - start) / shape[dim] for dim, (start, end) in self.sides.items())

    def along(self, dims: Iterable[int]) -> Box:
        """The box that has these of its sides alone."""
        return Box({dim: side for dim, side in self.sides.items() if dim in dims})

    def permuted(self, order: Sequence[int]) -> Box:
        """The box when dimensions change places; `order`: which one each of them was."""
        return Box({new: self.sides[old] for new, old in enumerate(order) if old in self.sides})


@dataclass(frozen=True)
class Boxes:
    """A box for each sample (dimension 0), all of one size, each in its own place.

    Parameters
    ----------
    starts : mapping of int to sequence of int
        For some dimensions where the box of each sample begins; all of the other dimensions.
    sizes : mapping of int to int
        How long the boxes are along these.
    empty : frozenset of int
        Samples of which everything is known without the box.
    """

    starts: Mapping[int, Sequence[int]]
    sizes: Mapping[int, int]
    empty: frozenset[int] = frozenset()

    @property
    def dims(self) -> Collection[int]:
        """The dimensions of which they do not hold all."""
        return self.starts.keys()

    @cached_property
    def count(self) -> int:
        """The number of samples."""
        return len(next(iter(self.starts.values())))

    def of(self, x: Tensor, dims: int | None = None) -> Tensor:
        """The boxes of a tensor, or of what broadcasts to one of `dims` dimensions."""
        missing = 0 if dims is None else dims - x.dim()
        inside = [dim for dim in self.starts if dim >= missing and x.shape[dim - missing] > 1]
        if not inside:
            return x
        x = x[(None,) * missing]
        shape = [self.sizes[dim] if dim in inside else size for dim, size in enumerate(x.shape)]
        return assembled(Boxes({d: self.starts[d] for d in inside}, self.sizes), shape, [(None, x)])

    def share(self, shape: Sequence[int]) -> float:
        """How much of a tensor they hold."""
        return math.prod(size / shape[dim] for dim, size in self.sizes.items())

    def along(self, dims: Iterable[int]) -> Boxes:
        """The boxes that have these of their sides alone."""
        kept = [dim for dim in self.starts if dim in dims]
        return Boxes({d: self.starts[d] for d in kept}, {d: self.sizes[d] for d in kept}, self.empty)

    def permuted(self, order: Sequence[int]) -> Boxes:
        """The boxes when dimensions change places; `order`: which one each of them was."""
        moved = {new: old for new, old in enumerate(order) if old in self.starts}
        starts = {new: self.starts[old] for new, old in moved.items()}
        return Boxes(starts, {new: self.sizes[old] for new, old in moved.items()}, self.empty)

    def over(self, dims: Iterable[int], shape: Sequence[int]) -> Boxes:
        """The same boxes of a tensor of that shape, which have sides along these dimensions, too."""
        more = [dim for dim in dims if dim not in self.starts]
        starts = {**self.starts, **dict.fromkeys(more, (0,) * self.count)}
        return Boxes(starts, {**self.sizes, **{dim: shape[dim] for dim in more}}, self.empty)

    def union(self, other: Boxes, shape: Sequence[int]) -> Boxes:
        """Boxes of a tensor of that shape that hold both."""
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
    """Some rows of a tensor: all of its last dimension, at places counted over the sizes of the others.

    Parameters
    ----------
    index : Tensor
        Which rows, int64, shape (rows,).
    leading : tuple of int
        All sizes but the last.
    """

    index: Tensor
    leading: tuple[int, ...]

    def of(self, x: Tensor) -> Tensor:
        """The rows of a tensor, one after another in its last dimension but one; its other dimensions have size 1."""
        found = x.reshape(-1, x.shape[-1])[self.index]
        return found.reshape(*(1,) * (x.dim() - 2), *found.shape)


def fitted(ranges: Sequence[tuple[int, int]], length: int) -> tuple[tuple[int, ...], int]:
    """Ranges of one size that hold these (start and end), within a dimension of that length."""
    size = min(length, max(1, *(end - start for start, end in ranges)))
    return tuple(max(0, min(start, length - size)) for start, _ in ranges), size


class Part(NamedTuple):
    """The values of a tensor in a box, and what is beside it: `outside`, of one sample; else zeros, or what is dead."""

    box: Box | Boxes | Rows
    values: Tensor
    outside: Tensor | None = None

    def in_box(self, box: Box | Boxes, shape: Sequence[int], beyond: float = 0.0) -> Tensor:
        """The values in another box of a tensor of that shape; `beyond` it, and where nothing is known, that number."""
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
        """Write into a tensor what is known of it."""
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
    """A tensor of these sizes: what is wanted of sources (boxes of samples, or one whole), each over those before it.

    Parameters
    ----------
    want : Boxes
        What is wanted.
    sizes : sequence of int
        The sizes of the result but for the number of samples, which is that of `want`.
    sources : sequence of (Boxes or None, Tensor or None)
        What is known; None: all of it.
    shape : sequence of int, optional
        Of the whole that the boxes lie in, where not all of `want` is in it, or all of a source.
    beyond : float
        What stands where no source has anything.
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
    """The smallest box that holds whatever is True of one sample, the first of all; None if nothing is."""
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
    """Memory for a tensor of that shape, in the memory format of a part of it."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(part.dim())
    if last is None or part.is_contiguous() or not part.is_contiguous(memory_format=last):
        last = torch.contiguous_format
    return torch.empty(tuple(shape), dtype=part.dtype, device=part.device, memory_format=last)
