"""The tensors in what a model returns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from captum_ad._common.errors import UnsupportedOperationError


def tensors_of_output(output: Any) -> list[Tensor]:
    """The tensors in an output: in containers, and in attributes of objects such as dataclasses.

    Raises
    ------
    UnsupportedOperationError
        If it holds an iterator, which would compute after the forward.
    """
    found: list[Tensor] = []
    seen: set[int] = set()  # objects may refer to one another

    def visit(leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif id(leaf) not in seen:
            seen.add(id(leaf))
            for part in tree_leaves(list(_parts_of(leaf).values())):
                visit(part)

    for leaf in tree_leaves(output):
        visit(leaf)
    return found


def map_tensors(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Apply a function to the tensors of an output. Containers are built anew; objects that hold tensors are copied."""
    copies: dict[int, Any] = {}

    def applied(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return function(leaf)
        if id(leaf) not in copies:
            parts = _parts_of(leaf)
            copies[id(leaf)] = other = copy.copy(leaf) if tensors_of_output(list(parts.values())) else leaf
            if other is not leaf:
                for (store, name), value in parts.items():
                    store(other, name, tree_map(applied, value))
        return copies[id(leaf)]

    return tree_map(applied, output)


Store = Callable[[Any, Any, Any], None]


def _parts_of(value: Any) -> Mapping[tuple[Store, Hashable], Any]:
    """The items and attributes of an object that torch does not know as a container, and how to store each."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, nn.Module, type)):
        return {}
    if isinstance(value, Iterator):
        raise UnsupportedOperationError(
            f"the model returns an iterator ({type(value).__name__}), whose values would be computed after the masked "
            "forward: return a list"
        )
    items: Any = {}
    if isinstance(value, MutableMapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    parts: dict[tuple[Store, Hashable], Any] = {(type(value).__setitem__, name): item for name, item in items}
    slots = {name for kind in type(value).__mro__ for name in _listed(vars(kind).get("__slots__", ()))}
    names = [*getattr(value, "__dict__", {}), *(name for name in slots if hasattr(value, name))]
    return parts | {(object.__setattr__, name): getattr(value, name) for name in names if name != "__dict__"}


def _listed(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)
