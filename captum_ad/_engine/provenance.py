"""Whether a tensor comes from features, if the interpreter did not see the operation that made it.

The interpreter sees what goes through torch's Python functions. It does not see tensors made by a ScriptModule, an
extension or a legacy constructor, or by code that ran before the forward (a constant kept in a cache, a closure or a
global). Torch's dispatcher sees every operation of the forward. Because that is slow, it is used only if a tensor of
unknown origin turns up: the forward then runs again.
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
    """A tensor of unknown origin turned up: the forward has to run again under :class:`Provenance`."""


class Provenance(TorchDispatchMode):
    """Follows which memory holds values computed from features, whatever code computes them.

    Memory that is not in the result of any operation here was written before the forward, or holds no features.

    Parameters
    ----------
    *features : Tensor
        The inputs of the forward that hold features.
    """

    def __init__(self, *features: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._features = {pointer_of(x) for x in features}
        self._unwritten: set[int] = set()  # memory that kernels unseen by the dispatcher may have filled

    def add(self, x: Tensor) -> None:
        """Note that a tensor holds features, even if its memory has not been written yet."""
        self._features.add(pointer_of(x))

    def is_of_features(self, x: Tensor) -> bool:
        """Whether a tensor's memory holds what was computed from features in this forward."""
        try:
            return pointer_of(x) in self._features | self._unwritten
        except RuntimeError:  # it has no memory, as inside vmap or the checks of an exported program
            return True

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note what its results are made from."""
        with torch._C.DisableTorchFunction():  # keeps calls of compiled code away from the interpreter
            return self._noted(func, args, kwargs or {})

    def _noted(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        before = {pointer_of(x) for x in tensors_in(*args, *kwargs.values())}
        out = func(*args, **kwargs)
        found = {pointer_of(x) for x in tensors_in(out)} - {0}
        if before & self._features:
            self._features |= found | (before if func._schema.is_mutable else set())
        else:
            self._features -= found - before  # memory that was freed and reused
        self._unwritten -= found | before
        if "empty" in func._schema.name and not before - found:
            self._unwritten |= found
        return out
