"""Speed: the results of a run of one sample without masks, which masked runs of the same sample can reuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_ad._engine.crop import WORTHWHILE, Boxes, fitted
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import key_of_call, may_write
from captum_ad._engine.tags import pointer_of, tag_of, version_of

LIMIT = 2**30
"""The largest number of bytes of results that are kept; later operations are computed as a whole."""


class KeptRun:
    """The results of a forward, operation by operation.

    Parameters
    ----------
    x : Tensor
        Its input, shape (1, C, *spatial). It must not be written to while the run is in use.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._state = _state(x)
        self.finished = False
        self._results: list[
            tuple[Any, Tensor | None, int | None]
        ] = []  # the call, its result, and torch's count of writes to the result
        self._by_memory: dict[int, list[int]] = {}
        self._bytes = 0

    def is_of(self, x: Tensor) -> bool:
        """Whether a batch is this run's input, expanded: the same memory, not written to since."""
        one = x[:1]
        same = (
            one.data_ptr() == self.x.data_ptr()
            and one.shape == self.x.shape
            and one.stride()[1:] == self.x.stride()[1:]
        )
        return same and one.dtype == self.x.dtype and _state(x) == self._state

    def forget(self) -> None:
        """Drop all results, after a run that did not finish."""
        self._results.clear()
        self._by_memory.clear()

    def before(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Copy the results that the next operation may write to."""
        first = (*args[:1], kwargs.get("input")) if may_write(operation, args, kwargs) else ()
        for x in (*first, kwargs.get("out")):
            for number in self._by_memory.pop(pointer_of(x), ()) if isinstance(x, Tensor) else ():
                key, result, _ = self._results[number]
                assert result is not None
                copy = result.clone()
                self._results[number] = key, copy, version_of(copy)

    def add(self, called: Any, result: Any, *, needed: bool) -> None:
        """Record the next operation, in the form of :func:`described`, and its result if it is needed."""
        kept = result if needed and isinstance(result, Tensor) and self._bytes < LIMIT else None
        if kept is not None:
            self._bytes += kept.numel() * kept.itemsize
            if kept.is_inference():  # torch does not count writes to it
                kept = kept.clone()
            self._by_memory.setdefault(pointer_of(kept), []).append(len(self._results))
        self._results.append((called, kept, None if kept is None else version_of(kept)))

    def result(self, number: int, called: Any, shape: Sequence[int]) -> Tensor | None:
        """The result of operation `number`, if it was the same call and has this shape apart from the batch size."""
        if not self.finished or number >= len(self._results):
            return None
        noted, result, version = self._results[number]
        if result is None or result.shape != (1, *shape[1:]) or version_of(result) != version:
            return None
        return result if _same(noted, called) else None


def described(operation: Any, args: Any, kwargs: Any) -> Any:
    """A call in a form that can be compared between forwards: tensors from features stand for what made them."""
    return key_of_call(operation), getattr(operation, "__self__", None), _described(args), _described(kwargs)


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        tag = tag_of(value)
        return tag.made if tag is not None and tag.data else _Constant(value)
    if isinstance(value, (tuple, list)):
        return tuple(map(_described, value))
    return {name: _described(one) for name, one in value.items()} if isinstance(value, dict) else value


class _Constant:
    """A tensor as it was when it was an argument."""

    def __init__(self, x: Tensor) -> None:
        self.x = x.clone() if x.is_inference() else x
        self.version = version_of(self.x)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same values, and the first has not been written to since."""
        if not isinstance(other, _Constant) or version_of(self.x) != self.version:
            return False
        one, two = self.x, other.x
        return one is two or (one.dtype == two.dtype and one.device == two.device and torch.equal(one, two))

    __hash__ = None  # type: ignore[assignment]


def _state(x: Tensor) -> tuple[Any, ...]:
    """The count of writes to `x`, and the global settings of torch that the results of a forward depend on."""
    kind = x.device.type
    return (
        version_of(x),
        torch.is_autocast_enabled(kind),
        torch.get_autocast_dtype(kind),
        torch.is_inference_mode_enabled(),
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two described calls are equal: the same operation on the same constants, numbers and results."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    try:
        return bool(one == other)
    except (RuntimeError, TypeError, ValueError):  # they cannot be compared
        return False


def dead_boxes(mask: PositionMask, shape: Sequence[int]) -> Boxes | None:
    """For each sample, a box that holds all its dead positions; None if the boxes are too large to be worthwhile."""
    dead: Any = mask.dead.any(1).expand(shape[0], *shape[2:]).cpu().numpy()
    if dead.ndim < 2 or not dead.size:
        return None
    axes = range(1, dead.ndim)
    starts, sizes = {}, {}
    empty = frozenset(np.flatnonzero(~dead.any(tuple(axes))).tolist())
    for dim in axes:
        line = dead.any(tuple(other for other in axes if other != dim))
        first, last = line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)
        ranges = [(0, 0) if i in empty else (int(a), int(b)) for i, (a, b) in enumerate(zip(first, last))]
        starts[dim + 1], sizes[dim + 1] = fitted(ranges, shape[dim + 1])
    boxes = Boxes(starts, sizes, empty)
    return boxes if boxes.share(shape) <= WORTHWHILE else None
