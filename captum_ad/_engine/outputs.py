"""Whether something that a model returns holds tensors which cannot be seen from outside."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, nn.Module)
_MOST = 100_000


def holds(value: Any, wanted: Callable[[Tensor], bool]) -> bool:
    """Whether a tensor with a property can be reached from an object, through attributes, containers or closures.

    The search does not enter Python modules, classes and networks, and ends after 100,000 objects.
    """
    seen: dict[int, Any] = {}  # keeps them alive: ids of objects that are gone may come again
    left = [value]
    while left and len(seen) < _MOST:
        one = left.pop()
        if isinstance(one, Tensor):
            if wanted(one):
                return True
        elif not isinstance(one, _PLAIN) and id(one) not in seen:
            seen[id(one)] = one
            if isinstance(one, FunctionType):
                left += [one.__closure__, one.__defaults__, one.__kwdefaults__]  # not the globals
            elif isinstance(one, np.ndarray):
                left += one.ravel().tolist() if one.dtype == object else []
            else:
                left += gc.get_referents(one)
    return False
