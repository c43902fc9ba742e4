"""The position function pos (Definition 3) of each kind of window, as 0/1 matrices.

A window is a product over dimensions, so ``pos`` is one small matrix per dimension: a row for each
output position, a column for each input position, 1 where the output is computed from the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from captum_ad._engine.definitions import Windows
from captum_ad._engine.taps import Taps


class Geometry(NamedTuple):
    """A windowed operation along one dimension; `padding` is the number of positions added before the input."""

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1


def sliding_windows(geometry: Iterable[Geometry], device: torch.device) -> Windows:
    """Windows of a convolution or pool.

    At stride s an output position covers the s input positions in the middle of its window.
    """
    return _sliding_windows(tuple(geometry), device)


@lru_cache(maxsize=2048)
def _sliding_windows(geometry: tuple[Geometry, ...], device: torch.device) -> Windows:
    reads, covers = ([Taps(g.outputs, g.stride, of(g)) for g in geometry] for of in (_slides_over, _slides_onto))
    with torch.inference_mode(False):
        matrices = [[line.matrix(g.inputs, device) for g, line in zip(geometry, taps)] for taps in (reads, covers)]
    return Windows(matrices[0], matrices[1], reads, covers)


def _slides_over(g: Geometry) -> Sequence[int]:
    return range(-g.padding, g.dilation * (g.kernel - 1) - g.padding + 1, g.dilation)


def _slides_onto(g: Geometry) -> Sequence[int]:
    """The `stride` positions in the middle of the window."""
    first = (g.dilation * (g.kernel - 1) + 1 - g.stride + 1) // 2 - g.padding
    return range(first, first + g.stride)


class Slide(NamedTuple):
    """Windows that slide over the last dimensions of a tensor; every field holds one number per dimension."""

    sizes: Sequence[int]  # of the output
    kernel: Sequence[int]
    steps: Sequence[int]  # stride
    padding: Sequence[int]  # before the input
    gaps: Sequence[int]  # dilation

    @property
    def reach(self) -> list[int]:
        """The distance between the first and the last position of a window, per dimension."""
        return [gap * (k - 1) for k, gap in zip(self.kernel, self.gaps)]

    @property
    def reach_of_covered(self) -> list[int]:
        """The largest distance between a position that a window reads and one that it covers, per dimension."""
        found = []
        for k, step, pad, gap, most in zip(self.kernel, self.steps, self.padding, self.gaps, self.reach):
            reads, covers = (of(Geometry(0, 0, k, step, pad, gap)) for of in (_slides_over, _slides_onto))
            found.append(min(most, max(reads[-1] - covers[0], covers[-1] - reads[0])))
        return found

    @property
    def is_by_position(self) -> bool:
        """Whether each output position is computed only from the input position at its own index."""
        return all(k == step == 1 and pad == 0 for k, step, pad in zip(self.kernel, self.steps, self.padding))

    def windows(self, x: Tensor) -> Windows:
        """Which positions of `x` each output position is computed from."""
        inputs = x.shape[-len(self.kernel) :]
        lines = zip(inputs, self.sizes, self.kernel, self.steps, self.padding, self.gaps)
        return sliding_windows((Geometry(*line) for line in lines), x.device)


def transposed_windows(geometry: Iterable[Geometry], device: torch.device) -> Windows:
    """Windows of a transposed convolution; an output position covers the input positions nearest to it."""
    return _windows(_receives_from, _receives_most_from, tuple(geometry), device)


def adaptive_windows(geometry: Iterable[Geometry], device: torch.device) -> Windows:
    """Windows of an adaptive pool; they tile the input, so each covers what it reads."""
    return _windows(_tiles, _tiles, tuple(geometry), device)


def resized_windows(reads: Sequence[Tensor], device: torch.device) -> Windows:
    """Windows of an interpolation with these `reads`; an output covers the input positions that it overlaps.

    Overlap is that of the two grids when stretched to the same extent.
    """
    return Windows(reads, [_matrix(_overlaps, Geometry(m.shape[1], m.shape[0]), device) for m in reads])


# Does input position `i` belong to output position `o`? Called with all `o` as a column and all `i` as a row.
_Belongs = Callable[[Geometry, Tensor, Tensor], Tensor]


def _receives_from(g: Geometry, o: Tensor, i: Tensor) -> Tensor:
    offset = o + g.padding - i * g.stride
    return (offset >= 0) & (offset <= g.dilation * (g.kernel - 1)) & (offset % g.dilation == 0)


def _receives_most_from(g: Geometry, o: Tensor, i: Tensor) -> Tensor:
    twice_distance = 2 * (o + g.padding - i * g.stride) - g.dilation * (g.kernel - 1)
    return twice_distance.abs() <= g.stride


def _tiles(g: Geometry, o: Tensor, i: Tensor) -> Tensor:
    return (i >= o * g.inputs // g.outputs) & (i < -(-(o + 1) * g.inputs // g.outputs))


def _overlaps(g: Geometry, o: Tensor, i: Tensor) -> Tensor:
    """Whether the cells overlap, if inputs and outputs each partition the same interval."""
    return (i * g.outputs < (o + 1) * g.inputs) & ((i + 1) * g.outputs > o * g.inputs)


@lru_cache(maxsize=2048)
def _windows(reads: _Belongs, covers: _Belongs, geometry: tuple[Geometry, ...], device: torch.device) -> Windows:
    return Windows([_matrix(reads, g, device) for g in geometry], [_matrix(covers, g, device) for g in geometry])


@lru_cache(maxsize=2048)
def _matrix(belongs: _Belongs, g: Geometry, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        matrix = belongs(g, torch.arange(g.outputs)[:, None], torch.arange(g.inputs)[None])
        return matrix.to(device, torch.float32)
