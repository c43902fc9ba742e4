"""Whether a tensor that no operation seen here has made comes from features.

The interpreter sees what goes through torch's Python functions. A ScriptModule, an extension or a legacy constructor
makes tensors past it, and so does code that ran before the forward began: a constant kept in a cache, a closure or a
global. Torch's dispatcher sees all of it. It is asked only if such a tensor turns up, by running the forward again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.tags import pointer_of, tensors_in


class UnknownOriginError(UnsupportedOperationError):
    """A tensor turned up that may come from features, or not: run the forward again, and follow all memory."""


class Provenance(TorchDispatchMode):
    """Follows which memory holds what is computed from features, whoever computes it.

    Memory that is in no operation's result here was written before, or holds no features.

    Parameters
    ----------
    *features : Tensor
        The inputs of the forward that hold features.
    """

    def __init__(self, *features: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._features = {pointer_of(x) for x in features}
        self._unwritten: set[int] = set()  # memory that kernels past the dispatcher may have filled

    def add(self, x: Tensor) -> None:
        """Note that a tensor holds features, also if its memory has not been written yet."""
        self._features.add(pointer_of(x))

    def is_of_features(self, x: Tensor) -> bool:
        """Whether a tensor's memory holds what was computed from features in this forward."""
        try:
            return pointer_of(x) in self._features | self._unwritten
        except RuntimeError:  # it has no memory: inside of a transform (vmap), or of an exported program's checks
            return True

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note what its results are made from."""
        with torch._C.DisableTorchFunction():  # of compiled code, whose calls no interpreter has seen
            return self._noted(func, args, kwargs or {})

    def _noted(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        before = {pointer_of(x) for x in tensors_in(*args, *kwargs.values())}
        out = func(*args, **kwargs)
        found = {pointer_of(x) for x in tensors_in(out)} - {0}
        if before & self._features:
            self._features |= found | (before if func._schema.is_mutable else set())
        else:
            self._features -= found - before  # memory that was freed, and is used again
        self._unwritten -= found | before
        if "empty" in func._schema.name and not before - found:
            self._unwritten |= found
        return out
