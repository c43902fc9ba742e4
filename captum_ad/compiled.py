"""Compiled parts of a model: torch.compile's run as the Python they were made from, others are refused."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

import torch
from torch import nn

from captum_ad.engine.blocks import is_block
from captum_ad.errors import UnsupportedOperationError

_CAN_RUN_EAGERLY = hasattr(torch.compiler, "set_stance")  # torch 2.6


class Eager:
    """Context in which torch.compile'd code runs as plain Python, into which a mask can be followed.

    Torch knows one stance for all threads, so it is changed by the first that enters, and restored
    by the last that leaves. Without anything compiled in this process, nothing is done (or imported).
    """

    _lock = threading.Lock()
    _inside = 0
    _stance: Any = None

    def __enter__(self) -> None:
        self._entered = _CAN_RUN_EAGERLY and "torch._dynamo" in sys.modules
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


def refuse_compiled(model: nn.Module, path: str = "") -> None:
    """Refuse what a mask cannot be followed into, unless it is inside of a module that has a rule of its own."""
    if is_block(model):
        return
    compiler = _compiler(model)
    if compiler is not None:
        raise UnsupportedOperationError(
            f"{f'module {path!r}' if path else 'the model'} is compiled by {compiler}, and a mask cannot be followed "
            "into it: wrap the Python model that it was made from, or put it into a module of your own that has a rule "
            "(help(captum_ad.register_rule))"
        )
    for name, module in model.named_children():
        refuse_compiled(module, f"{path}.{name}" if path else name)


def _compiler(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript"
    compiled = getattr(module, "_compiled_call_impl", None) is not None or "_orig_mod" in module._modules
    return "torch.compile (before torch 2.6)" if compiled and not _CAN_RUN_EAGERLY else None
