"""What operations on sliding windows share: their settings per dimension, their geometry, what a box of them reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from captum_ad.engine.border import fill_border_
from captum_ad.engine.crop import Box, Part
from captum_ad.engine.definitions import Windows
from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.positions import Geometry, sliding_windows

Setting = int | Sequence[int]


def per_dim(value: Setting, rank: int) -> list[int]:
    """A setting written once for all dimensions, or for each."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def geometry(inputs: Sequence[int], outputs: Sequence[int], *settings: Sequence[int]) -> list[Geometry]:
    """The geometry along each windowed dimension, from sizes and settings per dimension."""
    return [Geometry(*line) for line in zip(inputs, outputs, *settings)]


class Slide(NamedTuple):
    """Windows that slide over the last dimensions of a tensor; every setting per dimension."""

    sizes: Sequence[int]  # of the output
    kernel: Sequence[int]
    steps: Sequence[int]
    padding: Sequence[int]  # in front
    gaps: Sequence[int]  # dilation

    @classmethod
    def over(
        cls, inputs: Sequence[int], kernel: Sequence[int], steps: Sequence[int], padding: Sequence[int],
        gaps: Sequence[int],
    ) -> Slide:  # fmt: skip
        """The windows that fit into an input of these sizes, padded alike on both sides."""
        room = [n + 2 * pad - gap * (k - 1) - 1 for n, k, pad, gap in zip(inputs, kernel, padding, gaps)]
        return cls([r // step + 1 for r, step in zip(room, steps)], kernel, steps, padding, gaps)

    @property
    def reach(self) -> list[int]:
        """How far a window goes from its first position."""
        return [gap * (k - 1) for k, gap in zip(self.kernel, self.gaps)]

    @property
    def is_by_position(self) -> bool:
        """Whether each output position is computed from the input position of its own index alone."""
        return all(k == step == 1 and pad == 0 for k, step, pad in zip(self.kernel, self.steps, self.padding))

    def windows(self, x: Tensor) -> Windows:
        """Which positions of `x` each output position is computed from."""
        lines = geometry(x.shape[-len(self.kernel) :], self.sizes, self.kernel, self.steps, self.padding, self.gaps)
        return sliding_windows(lines, x.device)

    def input(self, ad: Interpreter, x: Tensor) -> Tensor:
        """`x` as active windows read it."""
        if self.is_by_position and ad.spares_checkpoint(x, x.dim() - len(self.kernel) - 1):
            return x
        return ad.window_input(x, self.reach)

    def part(self, ad: Interpreter, x: Tensor, box: Box) -> tuple[Part, list[tuple[int, int]]]:
        """A part of `x` as active windows read it, and where those of a box of the output begin and end, in `x`."""
        rank, mask = len(self.kernel), ad.mask(x)
        assert mask is not None
        dims = range(x.dim() - rank, x.dim())
        reads = []
        for dim, size, step, before, reach in zip(dims, self.sizes, self.steps, self.padding, self.reach):
            start, end = box.sides.get(dim, (0, size))
            reads.append((start * step - before, (end - 1) * step - before + reach + 1))
        dirty = self.is_by_position and ad.spares_checkpoint(x, dims[0] - 1)
        part = ad.part_or_all(x, clean=not dirty, constants=not dirty)
        of_positions = part.box.along(dims)  # windows read all channels
        part = Part(of_positions, part.in_box(of_positions, x.shape))
        if ad.rule.border == "mean" and any(self.reach):
            grow = max(self.reach)
            around = Box({d: (max(0, low - grow), min(x.shape[d], high + grow)) for d, (low, high) in zip(dims, reads)})
            values = part.in_box(around, x.shape)
            own = values.clone() if values is part.values else values
            part = Part(around, fill_border_(own, mask.map(around.of), self.reach))
        return part, reads
