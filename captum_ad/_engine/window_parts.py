"""Speed: compute only a part of the result of an operation on sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.border import fill_border_
from captum_ad._engine.crop import WORTHWHILE, Box, Boxes, Part, fitted, room_for
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.parts import Parts
from captum_ad._engine.positions import Slide


class WindowParts(Parts):
    """The method of ``ad`` that runs an operation on sliding windows, on a box of its result where that is enough."""

    def by_windows(
        self,
        run: Callable[[Tensor, Sequence[int] | None], Tensor],
        x: Tensor,
        slide: Slide,
        mask: PositionMask | None,
        shape: Sequence[int],
        *,
        beyond: float | None = None,
        by_part: bool = True,
        fills: bool = True,
    ) -> Tensor:
        """Emit the result of an operation on windows over the last dimensions, after a checkpoint.

        Parameters
        ----------
        run : callable
            ``run(x, padding)``: the operation with its own padding if `padding` is None, else with so many zeros
            on both sides of each dimension.
        x : Tensor
            Its input.
        slide : Slide
            The windows.
        mask : PositionMask or None
            The mask of the result.
        shape : sequence of int
            The shape of the result.
        beyond : float, optional
            The value of padding, if `run` should get input that is already padded; None: `run` pads with zeros.
        by_part : bool
            Whether a part may be computed: every window is treated alike, wherever it is.
        fills : bool
            Whether windows read averaged borders if ``rule.border == "mean"``.
        """
        rank = len(slide.kernel)
        first = x.dim() - rank
        dirty = slide.is_by_position and (self.mask(x) is None or self.spares_checkpoint(x, first - 1))
        box, outside = self._windows_place(x, slide, mask, shape) if by_part else (None, None)
        reach = self._fill_reach(x, slide) if fills and not dirty else ()
        read = self._read_by(x, slide, mask) if any(reach) else None
        if box is None:
            self.complete()
            return self.emit(run(x if dirty else self.window_input(x, reach, read), None), mask)
        values = run(*self._read(x, slide, box, beyond, dirty, reach, read))
        return self.emit(room_for(values, shape), mask, part=Part(box, values, outside))

    def _windows_place(
        self, x: Tensor, slide: Slide, mask: PositionMask | None, shape: Sequence[int]
    ) -> tuple[Box | Boxes | None, Tensor | None]:
        """The box to compute of the result (None: everything), and the values outside of it."""
        tag, first = self._tag(x), x.dim() - len(slide.kernel)
        part = None if tag is None else tag.part
        if part is None or part.outside is None:
            box = self.box(mask, shape)
            return box and box.along(range(first, x.dim())), None
        outside = self.kept_result(shape)
        if outside is None or not isinstance(part.box, Boxes):
            return None, None
        starts, sizes = {}, {}
        for dim, length, step, before, reach in zip(
            range(first, x.dim()), slide.sizes, slide.steps, slide.padding, slide.reach
        ):
            if dim in part.box.starts:  # the range of windows that read something in the box
                ranges = [
                    (-((reach - before - start) // step), (start + part.box.sizes[dim] - 1 + before) // step + 1)
                    for start in part.box.starts[dim]
                ]
                ranges = [(max(0, low), min(length, high)) for low, high in ranges]
                starts[dim], sizes[dim] = fitted(ranges, length)
        boxes = Boxes(starts, sizes, part.box.empty)
        return (boxes, outside) if starts and boxes.share(shape) <= WORTHWHILE else (None, None)

    def _read(
        self,
        x: Tensor,
        slide: Slide,
        box: Box | Boxes,
        beyond: float | None,
        dirty: bool,
        fill_reach: Sequence[int],
        read: Tensor | None,
    ) -> tuple[Tensor, Sequence[int]]:
        """What the windows of a box read, and the padding that `run` still has to add."""
        rank, mask = len(slide.kernel), self.mask(x)
        dims = range(x.dim() - rank, x.dim())
        part = self._part(x, clean=not dirty) or Part(Box({}), x if dirty else self.deactivate(x))
        if isinstance(box, Boxes):
            return self._read_boxes(x, part, slide, box, beyond or 0.0, fill_reach, read), [0] * rank
        reads = [
            (start * step - before, (end - 1) * step - before + reach + 1)
            for (start, end), step, before, reach in zip(
                [box.sides.get(dim, (0, size)) for dim, size in zip(dims, slide.sizes)],
                slide.steps, slide.padding, slide.reach,
            )
        ]  # fmt: skip
        assert isinstance(part.box, Box)
        of_positions = part.box.along(dims)  # windows read all channels
        part = Part(of_positions, part.in_box(of_positions, x.shape))
        if mask is not None and any(fill_reach):
            grow = max(fill_reach)
            around = Box({d: (max(0, low - grow), min(x.shape[d], high + grow)) for d, (low, high) in zip(dims, reads)})
            values = part.in_box(around, x.shape)
            own = values.clone() if values is part.values else values
            read = None if read is None else around.of(read)
            part = Part(around, fill_border_(own, mask.map(around.of), fill_reach, read))
        have = [part.box.sides.get(dim, (0, x.shape[dim])) for dim in dims]  # type: ignore[union-attr]
        margins = [(begin - low, high - end) for (begin, end), (low, high) in zip(have, reads)]
        if beyond is None and all(low == high >= 0 for low, high in margins):
            return part.values, [low for low, _ in margins]
        inside = {d: (max(0, low), min(x.shape[d], high)) for d, (low, high) in zip(dims, reads)}
        outer = [(max(0, -low), max(0, high - x.shape[d])) for d, (low, high) in zip(dims, reads)]
        values = part.in_box(Box(inside), x.shape)
        sides = [margin for pair in reversed(outer) for margin in pair]
        return (F.pad(values, sides, value=beyond or 0.0) if any(sides) else values), [0] * rank

    def _read_boxes(
        self,
        x: Tensor,
        part: Part,
        slide: Slide,
        box: Boxes,
        beyond: float,
        fill_reach: Sequence[int],
        read: Tensor | None,
    ) -> Tensor:
        """What the windows of each sample's box read, padding included; `read`: the positions that they read."""
        dims, fill = range(x.dim() - len(slide.kernel), x.dim()), self.mask(x) if any(fill_reach) else None
        grow = max(fill_reach, default=0)
        starts, sizes = {}, {}
        for dim, length, step, before, reach in zip(dims, slide.sizes, slide.steps, slide.padding, slide.reach):
            begins, count = (box.starts[dim], box.sizes[dim]) if dim in box.starts else ((0,) * box.count, length)
            starts[dim] = tuple(start * step - before - grow for start in begins)
            sizes[dim] = (count - 1) * step + reach + 1 + 2 * grow
        reads = Boxes(starts, sizes)
        values = part.in_box(reads, x.shape, beyond)
        if fill is None:
            return values
        whole = (*fill.kept.shape[: dims[0]], *x.shape[dims[0] :])
        there = PositionMask(*(reads.of_whole(part.expand(whole)) for part in (fill.kept, fill.everywhere)))
        own = values.clone() if values is part.values else values
        filled = fill_border_(own, there, fill_reach, None if read is None else reads.of_whole(read.expand(whole)))
        for dim in dims:
            filled = filled.narrow(dim, grow, sizes[dim] - 2 * grow)
        return filled

    def _fill_reach(self, x: Tensor, slide: Slide) -> Sequence[int]:
        """How far from an active position an active window may read averaged borders, in each windowed dimension.

        Without growth, an active window covers an active position, so this is less than the window's extent (unless
        a window covers no feature, or channels have different masks).
        """
        mask = self.mask(x)
        if mask is None or self.rule.border == "zero":
            return ()
        if self.rule.growth != "none":
            return slide.reach
        alike = mask.kept.shape[x.dim() - len(slide.kernel) - 1] == 1
        return slide.reach_of_covered if alike and slide.windows(x).cover(mask) else slide.reach

    def _read_by(self, x: Tensor, slide: Slide, mask: PositionMask | None) -> Tensor | None:
        """Where active windows read, if at a stride they may leave out some that are near; None: anywhere near.

        Not on a GPU: Python would have to wait for the values.
        """
        if mask is None or mask.kept.device.type != "cpu" or all(step == 1 for step in slide.steps):
            return None
        first = x.dim() - len(slide.kernel)
        alive = mask.kept.any(first - 1, keepdim=True).expand(*mask.kept.shape[: first - 1], 1, *slide.sizes)
        return slide.windows(x).read_by(alive)
