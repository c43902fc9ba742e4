"""Reshapes of what broadcasts to a tensor, and how tensors lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from captum_ad.engine.axes import groups


def reshaped(part: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """What broadcasts to `old`, after a reshape from `old` to `new`; dimensions of size 1 stay so if they can."""
    before, after = list(part.shape), list(new)
    for ins, outs in groups(old, new):
        if all(part.shape[dim] == 1 for dim in ins):
            for dim in outs:
                after[dim] = 1
        else:
            for dim in ins:
                before[dim] = old[dim]
    return part.expand(before).reshape(after)


def overlaps_itself(x: Tensor) -> bool:
    """Whether two elements of a tensor may be the same memory."""
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape) if size > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def is_basic(index: Any) -> bool:
    """Whether indexing gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
