"""Speed: compute only a part of a result if the rest of it is known. The results are the same.

A rule says what its operation reads (each position by itself, or windows) and how to run it. This module decides how
much to run:

- everything;
- a box outside of which everything is dead;
- if a run of the same sample without masks is kept (:mod:`captum_ad._engine.kept`), one box per sample, outside of
  which everything is as in that run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.axes import Axes
from captum_ad._engine.crop import SMALLEST, WORTHWHILE, Box, Boxes, Part, Rows, room_for
from captum_ad._engine.masks import PositionMask, broadcast
from captum_ad._engine.rows import RowParts
from captum_ad._engine.select import zero_, zeroed
from captum_ad._engine.tags import pointer_of


class Parts(RowParts):
    """The methods of ``ad`` that run an operation on a box of its result, where that is enough."""

    def by_position(
        self,
        run: Callable[..., Tensor],
        operands: Sequence[Any],
        mask: PositionMask | None,
        *,
        checked: Collection[Tensor] = (),
        clean: bool = False,
        in_place: bool = False,
        shape: Sequence[int] | None = None,
        mixed: Collection[int] = (),
        axes: Axes | None = None,
    ) -> Tensor:
        """Emit ``run(*operands)``, where each position of the result depends only on that position of the operands.

        Parameters
        ----------
        run : callable
            The operation. It must accept operands cropped to any size along positions.
        operands : sequence
            Tensors that broadcast to each other, and numbers.
        mask : PositionMask or None
            The mask of the result.
        checked : collection of Tensor
            The operands to deactivate before `run` (a checkpoint).
        clean, axes
            See :meth:`emit`.
        in_place : bool
            Whether `run` writes into the first operand; a checkpoint may then write into it as well.
        shape : sequence of int, optional
            The shape of the result; by default the broadcast shape of the operands.
        mixed : collection of int
            Dimensions of the result, counted from 0, that the operation reads whole.
        """
        checks = {id(x) for x in checked}
        if shape is None:
            shape = broadcast(*(x.shape for x in operands if isinstance(x, Tensor)))
        found = None if in_place else self.by_rows(run, operands, mask, shape, mixed, axes)
        if found is not None:
            return found
        box, outside = self._place(operands, mask, shape, mixed)
        box = box and box.along([d for d in range(len(shape)) if d not in mixed])
        if box is None:
            self.complete()
            check = [self.deactivate_ if in_place else self.deactivate] + [self.deactivate] * (len(operands) - 1)
            given = [one(x) if id(x) in checks else x for one, x in zip(check, operands)]
            return self.emit(run(*given), mask, clean=clean, axes=axes)
        crops = [self._cropped(x, box, shape, id(x) in checks) for x in operands]
        values = run(*crops)
        first: Tensor = operands[0]
        part = Part(box, values, outside)
        if values is not crops[0]:
            if (
                isinstance(first, Tensor) and values.data_ptr() == crops[0].data_ptr()
            ):  # shares memory, as detach() does
                self.complete()
                return self.emit(run(*operands), mask, clean=clean, axes=axes)
            return self.emit(room_for(values, shape), mask, clean=clean, part=part, axes=axes)
        tag = self._tag(first)  # `run` worked in place, or did nothing
        assert tag is not None
        if tag.part is None and pointer_of(values) == pointer_of(first):
            return self.emit(first, mask, clean=clean, axes=axes)
        shared = tag.storage.shared
        out = self.emit(first, mask, clean=clean, part=part, axes=axes)
        if shared:
            self.complete(out)  # other tensors share its memory
        return out

    def mean_over(self, run: Callable[[Tensor], Tensor], x: Tensor, dims: Sequence[int]) -> Tensor:
        """Deactivate `x` (a checkpoint) and return its mean over `dims`, which `run` computes."""
        part = self._part(x, clean=True)
        if (
            part is None
            or part.outside is not None
            or isinstance(part.box, Rows)
            or not set(part.box.dims) <= set(dims)
        ):
            self.complete()
            return run(self.deactivate(x))
        return run(part.values) * part.box.share(x.shape)

    def padded(
        self,
        run: Callable[[Tensor], Tensor],
        x: Tensor,
        before: Sequence[int],
        mask: PositionMask,
        shape: Sequence[int],
    ) -> Tensor:
        """Emit `x` padded with constants, after a checkpoint.

        Parameters
        ----------
        run : callable
            The padding operation.
        x : Tensor
            Its input.
        before : sequence of int
            The number of positions added before each dimension of `x`.
        mask : PositionMask
            The mask of the result.
        shape : sequence of int
            The shape of the result.
        """
        part = self._part(x, clean=True)
        outside = None if part is None or part.outside is None else self.kept_result(shape)
        if part is None or (part.outside is None) != (outside is None):
            self.complete()
            return self.emit(run(self.deactivate(x)), mask, clean=True)
        values = part.values.clone()  # the input may be overwritten later
        if isinstance(part.box, Boxes):
            box = part.box.over([dim for dim, size in enumerate(x.shape) if size != shape[dim]], x.shape)
            starts = {dim: [start + before[dim] for start in starts] for dim, starts in box.starts.items()}
            moved: Box | Boxes = Boxes(starts, box.sizes, box.empty)
        else:
            assert isinstance(part.box, Box)
            sides = {dim: part.box.sides.get(dim, (0, size)) for dim, size in enumerate(x.shape) if size != shape[dim]}
            sides = {**part.box.sides, **sides}
            moved = Box({dim: (low + before[dim], high + before[dim]) for dim, (low, high) in sides.items()})
        return self.emit(room_for(values, shape), mask, clean=True, part=Part(moved, values, outside))

    def permuted_part(self, x: Tensor, order: Sequence[int]) -> Part | None:
        """The computed part of an operand after permuting its dimensions; None if it has none, or that cannot be."""
        tag = self._tag(x)
        if tag is None or tag.part is None or order[0] != 0:
            return None
        box, values, outside = tag.part
        if isinstance(box, Rows):  # after a permutation they are not rows anymore
            return None
        if outside is not None and (outside := self.kept_result([x.shape[dim] for dim in order])) is None:
            return None
        return Part(box.permuted(order), values.permute(*order), outside)

    # What to compute of a result

    def box(self, mask: PositionMask | None, shape: Sequence[int]) -> Box | None:
        """The box outside of which a tensor need not be computed; None if unknown, or too large to be worthwhile."""
        if mask is None or not self._skips or math.prod(shape) < SMALLEST or torch.is_grad_enabled():
            return None
        if not mask.box_is_at_hand:
            return None
        return mask.box if mask.box is not None and mask.box.share(shape) <= WORTHWHILE else None

    def _place(
        self, operands: Sequence[Any], mask: PositionMask | None, shape: Sequence[int], mixed: Collection[int]
    ) -> tuple[Box | Boxes | None, Tensor | None]:
        """The box to compute of the result of these operands (None: everything), and the values outside of it."""
        if not self._skips or torch.is_grad_enabled():
            return None, None
        maps = [x for x in operands if isinstance(x, Tensor) and self.is_data(x)]
        parts = [tag.part if (tag := self._tag(x)) else None for x in maps]
        if all(part is None or part.outside is None for part in parts):
            return self.box(mask, shape), None
        outside = self.kept_result(shape)
        boxes: Boxes | None = None
        for x, part in zip(maps, parts):
            if part is None or not isinstance(part.box, Boxes) or x.dim() != len(shape) or outside is None:
                return None, None
            if any(dim in mixed or x.shape[dim] != shape[dim] for dim in part.box.starts):
                return None, None
            boxes = part.box if boxes is None or boxes == part.box else boxes.union(part.box, shape)
        return (boxes, outside) if boxes and boxes.share(shape) <= WORTHWHILE else (None, None)

    # What is known of an operand

    def _part(self, x: Tensor, *, clean: bool) -> Part | None:
        """The part of an operand outside of which its values are known; None: the whole operand.

        `clean`: return the part with its deactivated positions set to zero.
        """
        tag = self._tag(x)
        if tag is None:
            return None
        if tag.part is not None and isinstance(tag.part.box, Rows):
            self.complete(x)
        part = tag.part
        if part is None:
            box = self.box(tag.mask, x.shape)
            part = None if box is None else Part(box, box.of(x))
        if part is None or not clean or tag.mask is None or self.is_clean(x):
            return part
        mask = tag.mask.map(part.box.of)
        if tag.part is None:
            return part._replace(values=zeroed(part.values, mask))
        zero_(part.values, mask)
        tag.clean, tag.writes = True, tag.storage.writes
        return part

    def _cropped(self, x: Any, box: Box | Boxes, shape: Sequence[int], clean: bool) -> Any:
        """An operand cropped to a box of the result, whose `shape` the operand broadcasts to."""
        if not isinstance(x, Tensor):
            return x
        alike = x.dim() == len(shape) and all(x.shape[dim] == shape[dim] for dim in box.dims)
        part = self._part(x, clean=clean) if alike and self.is_data(x) else None
        if part is not None:
            return part.in_box(box, x.shape)
        self.complete(x)
        return box.of(self.deactivate(x) if clean else x, len(shape))
