"""Where a call comes from, and which tensors were there before the forward began."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import FrameType

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

_MODULE_INTERNALS = frozenset(vars(nn.Module()))
_PLAIN = frozenset((bool, int, float, str, type(None)))
_CHECKPOINT = inspect.unwrap(checkpoint).__code__


def tensors_of(model: nn.Module) -> list[Tensor]:
    """The tensors that a model's modules hold: parameters, buffers and plain attributes."""
    found: list[Tensor] = []
    for module in modules_of(model):
        for held in (module._buffers, module._parameters):
            if held:
                found += [value for value in held.values() if value is not None]
        attributes = vars(module)
        for name in attributes.keys() - _MODULE_INTERNALS:
            value = attributes[name]
            kind = type(value)
            if kind in _PLAIN or (kind in (tuple, list) and _PLAIN.issuperset(map(type, value))):
                continue  # most are, and quickly told from what holds tensors
            found += _inside(value)
    return found


def modules_of(model: nn.Module) -> Iterator[nn.Module]:
    """The model and all modules in it, each once; in less time than ``model.modules()``, which also spells paths."""
    found, left = {id(model)}, [model]
    while left:
        module = left.pop()
        yield module
        for child in module._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                left.append(child)


def call_depth() -> int:
    """How many calls deep the caller is."""
    return sum(1 for _ in _frames())


def module_path(model: nn.Module) -> str:
    """The innermost module of `model` whose code is running, as a readable path."""
    name, kind = running_module(model)
    return f"module {name!r} ({kind})" if name else f"the model itself ({kind})"


def running_module(model: nn.Module) -> tuple[str, str]:
    """The path and the type of the innermost module of `model` whose code is running; the model's own path is ""."""
    paths = {id(module): path for path, module in model.named_modules()}
    for frame in _frames():
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in paths:
            return paths[id(owner)], type(owner).__name__
    return "", type(model).__name__


def has_own_backward(depth: int) -> bool:
    """Whether running code belongs to an autograd function, or to a part that backward runs again.

    `depth` is the call depth at which the forward began. To be asked in a forward with gradients:
    autograd functions compute theirs with gradients off.
    """
    codes = {_CHECKPOINT}
    if not torch.is_grad_enabled():
        codes |= {code for kind in _subclasses(Function) if (code := getattr(kind.forward, "__code__", None))}
    return any(frame.f_code in codes for frame in _frames_inside(depth))


def _subclasses(kind: type[Function]) -> Iterator[type[Function]]:
    for found in kind.__subclasses__():
        yield found
        yield from _subclasses(found)


def _frames_inside(depth: int) -> list[FrameType]:
    """The frames of the forward, but for the one that asks."""
    frames = list(_frames())
    return frames[1 : len(frames) - depth]


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inside(value: object, depth: int = 3) -> Iterator[Tensor]:
    """The tensors in a value: itself, or those in containers, a few levels down."""
    if type(value) in _PLAIN:  # most are, and this is quicker to say than that they are not tensors
        return
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            if type(item) not in _PLAIN:
                yield from _inside(item, depth - 1)
