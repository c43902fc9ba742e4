"""Module types and autograd functions as operations: masked forwards can intercept their calls."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.overrides import _get_current_function_mode_stack, handle_torch_function

from captum_ad._engine.tags import tag_of, tensors_in

_METHODS = {nn.Module: "forward", Function: "apply"}


class Block:
    """Descriptor that replaces ``forward`` of a module type, or ``apply`` of an autograd function.

    During a masked forward, a call with a tensor that comes from features goes to the interpreter,
    like that of a torch function. Otherwise the class's own method runs. Outside of masked forwards, a
    module's attribute is that method itself, because scripting and compiling read its source.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = _method_of(kind)
        self.own = vars(kind).get(self.name)  # None: inherited

        def dispatch(subject: Any, *args: Any, **kwargs: Any) -> Any:
            if carries_masks() and any((tag := tag_of(x)) and tag.data for x in tensors_in(args, kwargs)):
                return handle_torch_function(MethodType(dispatch, subject), (), *args, **kwargs)
            bound = (None, subject) if isinstance(subject, type) else (subject, type(subject))
            return self._original(*bound)(*args, **kwargs)

        dispatch.__name__ = self.name
        self.dispatch = dispatch

    def __get__(self, instance: Any, owner: type) -> Any:
        if self.name == "apply":
            inherited = owner.forward is self.kind.forward  # type: ignore[attr-defined]
            return MethodType(self.dispatch, owner) if inherited else self._original(None, owner)
        if instance is None or torch.compiler.is_compiling() or not carries_masks():
            return self._original(instance, owner)
        return MethodType(self.dispatch, instance)

    def _original(self, instance: Any, owner: type) -> Any:
        if self.own is None:
            return getattr(super(self.kind, owner if instance is None else instance), self.name)
        return self.own.__get__(instance, owner)


def block_of(kind: type) -> Block:
    """The block of a module type or an autograd function, installed if needed, so that its calls are intercepted."""
    name = _method_of(kind)
    found = vars(kind).get(name)
    if not isinstance(found, Block):
        found = Block(kind)
        setattr(kind, name, found)
    return found


def block_in(module: nn.Module) -> Block | None:
    """The block that replaces a module's ``forward``; None if its calls are not intercepted."""
    holders = [module, *type(module).__mro__]
    forward = next(vars(holder)["forward"] for holder in holders if "forward" in vars(holder))
    return forward if isinstance(forward, Block) else None


def _method_of(kind: type) -> str:
    if kind in _METHODS or issubclass(kind, torch.jit.ScriptModule) or not issubclass(kind, tuple(_METHODS)):
        raise TypeError(
            f"a rule cannot be registered for the class {kind.__name__}: give a subclass of torch.nn.Module or of "
            "torch.autograd.Function (for a ScriptModule: the type of a Python module around it)"
        )
    return next(method for base, method in _METHODS.items() if issubclass(kind, base))


def carries_masks() -> bool:
    """Whether a masked forward is running in this thread and intercepts calls."""
    return any(getattr(mode, "carries_masks", False) for mode in _get_current_function_mode_stack())
