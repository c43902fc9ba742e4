"""The tensors in what a model returns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map


def map_tensors(function: Callable[[Tensor], Tensor], output: Any, depth: int = 3) -> Any:
    """Apply a function to the tensors of an output, in containers and in attributes of objects down to `depth` levels.

    Containers are built anew, and objects that hold tensors are copied.
    """

    def applied(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return function(leaf)
        attributes = _attributes_of(leaf) if depth else {}
        if not any(tensors_of_output(value, depth - 1) for value in attributes.values()):
            return leaf
        other = copy.copy(leaf)
        for name, value in attributes.items():
            object.__setattr__(other, name, map_tensors(function, value, depth - 1))  # also if it is frozen
        return other

    return tree_map(applied, output)


def tensors_of_output(output: Any, depth: int = 3) -> list[Tensor]:
    """The tensors that :func:`map_tensors` applies a function to."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    map_tensors(note, output, depth)
    return found


def _attributes_of(value: Any) -> dict[str, Any]:
    if isinstance(value, (nn.Module, type)):
        return {}
    if dataclasses.is_dataclass(value):
        return {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)
        }
    return dict(getattr(value, "__dict__", {}))
