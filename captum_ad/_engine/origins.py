"""Which code an operation is called from, and which tensors a model holds."""

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
                continue  # most attributes are plain values; this check is fast
            found += _inside(value)
    return found


def modules_of(model: nn.Module) -> Iterator[nn.Module]:
    """The model and all modules in it, each once; faster than ``model.modules()``, which also builds paths."""
    found, left = {id(model)}, [model]
    while left:
        module = left.pop()
        yield module
        for child in module._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                left.append(child)


def call_depth() -> int:
    """The depth of the caller in the call stack."""
    return sum(1 for _ in _frames())


def module_path(model: nn.Module) -> str:
    """The innermost module of `model` whose code is running, as text for messages."""
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
    """Whether running code is inside an autograd function's forward or torch.utils.checkpoint.

    `depth` is the call depth at which the forward began. Call it only in a forward with gradients: an
    autograd function is recognized by gradients being off inside it.
    """
    codes = {_CHECKPOINT}
    if not torch.is_grad_enabled():
        codes |= {code for kind in _subclasses(Function) if (code := getattr(kind.forward, "__code__", None))}
    frames = list(_frames())  # without this function's own
    return any(frame.f_code in codes for frame in frames[: len(frames) - depth])


def _subclasses(kind: type[Function]) -> Iterator[type[Function]]:
    for found in kind.__subclasses__():
        yield found
        yield from _subclasses(found)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inside(value: object, depth: int = 3) -> Iterator[Tensor]:
    """The tensors in a value: the value itself, or those in nested containers, down to `depth` levels."""
    if type(value) in _PLAIN:  # most values are plain, and this check is faster than isinstance of Tensor
        return
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            if type(item) not in _PLAIN:
                yield from _inside(item, depth - 1)
