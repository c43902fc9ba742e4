"""A run of one sample in which nothing is masked: what masked runs of that sample need not compute again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from torch import Tensor

from captum_ad.engine.registry import is_in_place, key_of_call
from captum_ad.engine.tags import pointer_of, version_of

LIMIT = 2**30
"""How many bytes of results are kept at most; what comes later is computed as a whole."""


class KeptRun:
    """The results of a forward, operation by operation.

    Parameters
    ----------
    x : Tensor
        Its input, shape (1, C, *spatial); it must not be written to as long as the run is in use.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.finished = False
        self._results: list[tuple[Hashable, Tensor | None, int | None]] = []  # operation, result, writes to it so far
        self._by_memory: dict[int, list[int]] = {}
        self._bytes = 0

    def is_of(self, x: Tensor) -> bool:
        """Whether a batch holds nothing but this run's input, again and again."""
        one = x[:1]
        same = one.data_ptr() == self.x.data_ptr() and one.shape == self.x.shape and one.stride() == self.x.stride()
        return same and one.dtype == self.x.dtype

    def before(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Copy the results that an operation is about to write to, or may be."""
        writes = is_in_place(operation) or kwargs.get("inplace") or any(arg is True for arg in args)
        for x in (*args[:1], kwargs.get("input"), kwargs.get("out")) if writes else (kwargs.get("out"),):
            for number in self._by_memory.pop(pointer_of(x), ()) if isinstance(x, Tensor) else ():
                key, result, _ = self._results[number]
                assert result is not None
                copy = result.clone()
                self._results[number] = key, copy, version_of(copy)

    def add(self, operation: Any, result: Any, *, needed: bool) -> None:
        """Note the next operation, and its result if it is needed."""
        kept = result if needed and isinstance(result, Tensor) and self._bytes < LIMIT else None
        if kept is not None:
            self._bytes += kept.numel() * kept.itemsize
            self._by_memory.setdefault(pointer_of(kept), []).append(len(self._results))
        self._results.append((key_of_call(operation), kept, None if kept is None else version_of(kept)))

    def result(self, number: int, operation: Any, shape: Sequence[int]) -> Tensor | None:
        """The result of an operation, if it is the same one, and its result of that shape but for the batch."""
        if not self.finished or number >= len(self._results):
            return None
        key, result, version = self._results[number]
        if key != key_of_call(operation) or result is None or result.shape != (1, *shape[1:]):
            return None
        return result if version_of(result) == version else None
