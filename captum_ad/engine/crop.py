"""What is dead need not be computed: operations on a part of a tensor, the box that holds everything else.

A result whose part is known is memory that nobody has written yet. Rules that take parts read and
write parts alone; for every other operation the part is written into its tensor first, with zeros
around it: outside of the box all positions are dead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """Start and end along some dimensions, the first of all counted as 0; all of the others."""

    sides: Mapping[int, tuple[int, int]]

    def of(self, x: Tensor) -> Tensor:
        """That part of a tensor, or of what broadcasts to it."""
        for dim, (start, end) in self.sides.items():
            if x.shape[dim] > 1:
                x = x.narrow(dim, start, end - start)
        return x

    def share(self, shape: Sequence[int]) -> float:
        """How much of a tensor it holds."""
        return math.prod((end - start) / shape[dim] for dim, (start, end) in self.sides.items())

    def along(self, dims: Iterable[int]) -> Box:
        """The box that has these of its sides alone."""
        return Box({dim: side for dim, side in self.sides.items() if dim in dims})


class Part(NamedTuple):
    """The values of a tensor in a box; outside of it all is dead, or also a constant: zeros of padding."""

    box: Box
    values: Tensor
    constants: bool = False

    def in_box(self, box: Box, shape: Sequence[int]) -> Tensor:
        """The values in another box, which may reach beyond a tensor of that shape; zero where they are not known."""
        sides = [[b.sides.get(dim, (0, size)) for b in (self.box, box)] for dim, size in enumerate(shape)]
        if any(want[0] >= have[1] or have[0] >= want[1] for have, want in sides):
            return self.values.new_zeros([want[1] - want[0] for _, want in sides])
        margins = [margin for have, want in reversed(sides) for margin in (have[0] - want[0], want[1] - have[1])]
        return F.pad(self.values, margins) if any(margins) else self.values


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
