"""Restore a model's state, whatever its forward changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from captum_ad._engine.origins import tensors_of
from captum_ad._engine.tags import version_of
from captum_ad.testing.watch import same_bits


@contextmanager
def unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore the state of the model's modules and of torch's random number generators at the end.

    The state includes tensors' values, attributes, and lists, dicts and sets among these, a few levels deep.
    """
    tensors = [(t, version_of(t), t.detach().clone()) for t in tensors_of(model)]
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    containers = [found for _, held in attributes for value in held.values() for found in _containers(value)]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for container, copy in [*attributes, *containers]:
                _refill(container, copy)
            for tensor, version, values in tensors:
                if version is not None and tensor._version != version:
                    with torch.no_grad():
                        tensor.copy_(values)
                elif version is None and not same_bits(tensor, values):
                    with torch.inference_mode():
                        tensor.copy_(values)


def _containers(value: Any, depth: int = 3) -> Iterator[tuple[Any, Any]]:
    """The containers in a value, including itself, each with a copy."""
    if depth and isinstance(value, (list, dict, set, deque)):
        yield value, value.copy()
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item, depth - 1)


def _refill(container: Any, copy: Any) -> None:
    if isinstance(copy, dict):
        same = [(key, id(value)) for key, value in container.items()] == [(k, id(v)) for k, v in copy.items()]
    else:
        same = list(map(id, container)) == list(map(id, copy))
    if not same:
        container.clear()
        (container.extend if isinstance(copy, (list, deque)) else container.update)(copy)
