"""Speed: compute only the rows of a result that are not dead.

If the active positions are scattered, a box around them saves little. But tokens, and positions in a channels-last
layout, are rows of memory. The rows that are not dead are gathered into a shorter tensor, and operations on single rows
run on that tensor, until one comes that reads several rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.axes import Axes
from captum_ad._engine.context import Context
from captum_ad._engine.crop import SMALLEST, Part, Rows
from captum_ad._engine.masks import PositionMask, same

WORTHWHILE = 0.85
"""The largest share of live rows for which gathering them is worthwhile."""


class RowParts(Context):
    """The method of ``ad`` that runs an operation only on the rows that are not dead."""

    def by_rows(
        self,
        run: Callable[..., Tensor],
        operands: Sequence[Any],
        mask: PositionMask | None,
        shape: Sequence[int],
        mixed: Collection[int],
        axes: Axes | None,
    ) -> Tensor | None:
        """Emit ``run(*operands)``, where each row of the result depends only on that row of the operands.

        The arguments are those of ``by_position``. A row is all of the last dimension. None if not worthwhile.
        """
        last = len(shape) - 1
        if mask is None or not self._skips or torch.is_grad_enabled() or math.prod(shape) < SMALLEST:
            return None
        if last < 2 or mask.kept.shape[last] > 1 or any(dim != last for dim in mixed):
            return None
        maps = [(x, tag) for x in operands if isinstance(x, Tensor) and (tag := self._tag(x)) and tag.data]
        begun = [tag.part for _, tag in maps if tag.part is not None]
        if not all(isinstance(part.box, Rows) for part in begun) or not (begun or mixed):
            return None  # gathering pays off only for an operation that mixes channels
        constants = [x for x in operands if isinstance(x, Tensor) and not self.is_data(x)]
        if any(x.dim() > 1 and x.numel() != x.shape[-1] for x in constants):
            return None  # a constant that differs from row to row
        if any(x.shape[:-1] != tuple(shape[:-1]) or tag.mask is None or not tag.mask.equals(mask) for x, tag in maps):
            return None
        rows = Rows(mask.live_rows(shape[:-1]), tuple(shape[:-1]))
        if len(rows.index) > WORTHWHILE * math.prod(rows.leading):
            return None
        if not all(same(part.box.index, rows.index) for part in begun if isinstance(part.box, Rows)):
            return None
        crops = [self._rows_of(x, rows) if isinstance(x, Tensor) else x for x in operands]
        values = run(*crops)
        if values is crops[0] and maps[0][1].part is not None:  # `run` did nothing, like dropout in eval mode
            return self.emit(maps[0][0], mask, clean=True, part=Part(rows, values), axes=axes)
        if any(values is crop for crop in crops):
            return None
        out = values.new_empty(tuple(shape))
        return self.emit(out, mask, clean=True, part=Part(rows, values), axes=axes)

    def _rows_of(self, x: Tensor, rows: Rows) -> Tensor:
        tag = self._tag(x)
        if tag is None or not tag.data:
            return x
        return rows.of(x) if tag.part is None else tag.part.values
