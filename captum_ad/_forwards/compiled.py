"""Compiled parts of a model: those of torch.compile run as Python, those of TorchScript are refused."""

from __future__ import annotations

import sys
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.origins import modules_of
from captum_ad._engine.registry import has_rule

if TYPE_CHECKING:
    from captum_ad._forwards.ad_forward import ADForward
    from captum_ad._forwards.answers import Masks

CAN_RUN_EAGERLY = hasattr(torch.compiler, "set_stance")
"""Whether compiled code can be run as plain Python: since torch 2.6."""


class Eager:
    """Context manager under which code compiled by torch.compile runs as plain Python, which masks can follow.

    Torch has one stance for all threads, so the first thread that enters changes it, and the last one
    that leaves restores it. If nothing was compiled in this process, it does (and imports) nothing.
    """

    _lock = threading.Lock()
    _inside = 0
    _stance: Any = None

    def __enter__(self) -> None:
        self._entered = CAN_RUN_EAGERLY and "torch._dynamo" in sys.modules
        if self._entered:
            with Eager._lock:
                if Eager._inside == 0:
                    Eager._stance = torch.compiler.set_stance("force_eager")
                Eager._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            with Eager._lock:
                Eager._inside -= 1
                if Eager._inside == 0:
                    Eager._stance.__exit__(kind, error, trace)


def refuse_compiled(model: nn.Module) -> None:
    """Refuse a model with compiled parts that masks cannot follow, unless they are inside a module with a rule."""
    if any(map(is_compiled, modules_of(model))):
        _refuse(model, "", ())


def is_compiled(module: nn.Module) -> bool:
    """Whether a module was compiled by torch.compile or is a TorchScript module."""
    scripted = isinstance(module, torch.jit.ScriptModule)
    return scripted or getattr(module, "_compiled_call_impl", None) is not None or "_orig_mod" in module._modules


def _refuse(model: nn.Module, path: str, around: tuple[nn.Module, ...]) -> None:
    scripted = isinstance(model, torch.jit.ScriptModule)
    if (scripted or (is_compiled(model) and not CAN_RUN_EAGERLY)) and not any(has_rule(m) for m in around):
        raise UnsupportedOperationError(
            f"{f'module {path!r}' if path else 'the model'} is compiled by "
            f"{'TorchScript' if scripted else 'torch.compile'}, and a mask cannot be followed into it: "
            f"{'' if scripted else 'use torch 2.6 or newer, '}wrap the Python model that it was made from, or call it "
            "in your own module and register a rule for that (help(captum_ad.register_rule))"
        )
    for name, module in model.named_children():
        _refuse(module, f"{path}.{name}" if path else name, (*around, model))


def untraced(ad: ADForward, *inputs: Any, mask: Masks, **kwargs: Any) -> Tensor:
    """The forward of an ADForward that torch.compile was asked to compile, which it cannot trace."""
    if mask is not None and ad._programs is None:
        warnings.warn(
            "torch.compile does not compile masked forwards, so this one runs uncompiled: call .compile() of the "
            "ADForward, with the same options",
            stacklevel=3,
        )
    return ad._forward(*inputs, mask=mask, **kwargs)


def refuse_transforms() -> None:
    """Refuse to run under torch.func's transforms or while torch.jit is tracing."""
    if torch._C._are_functorch_transforms_active():
        raise UnsupportedOperationError(
            "ADForward cannot run inside the transforms of torch.func (vmap, grad, jvp): pass a batch with one "
            "mask per sample instead of vmap, and differentiate with torch.autograd"
        )
    if torch._C._is_tracing():
        raise UnsupportedOperationError(
            "ADForward cannot be traced by torch.jit, because what it computes depends on the mask: trace its .model"
        )
