"""Tensors that no function mode sees being made: ``torch.Tensor([2.0])``, ``torch.from_numpy``, ``Variable``.

Below Python's functions, torch's dispatcher sees that one is made of numbers, and not by compiled code
from features. Watching it costs a call for every operation, so it is done for models that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captum_ad.engine.blocks import carries_masks
from captum_ad.engine.tags import tensors_in

_ALIASES = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


class Constructors(TorchDispatchMode):
    """Remembers tensors that are made of numbers out of sight of a masked forward, and aliases of others.

    To be entered before the forward's own mode. What the forward sees is of no interest: rules run without its mode.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._constants: dict[int, Tensor] = {}
        self._aliases: dict[int, tuple[Tensor, Tensor]] = {}

    def made_of_numbers(self, x: Tensor) -> bool:
        """Whether a tensor is a copy of numbers that Python, or numpy, held, or was computed from such alone."""
        return self._constants.get(id(x)) is x

    def original(self, x: Tensor) -> Tensor | None:
        """The tensor of which this one is an alias; None if it is none."""
        alias, original = self._aliases.get(id(x), (None, None))
        return original if alias is x else None

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation of the dispatcher, and remember what it has made."""
        kwargs = kwargs or {}
        if not carries_masks():
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            out = func(*args, **kwargs)
        operands, results = tensors_in(args, kwargs), tensors_in(out)
        if func._schema.is_mutable:  # type: ignore[attr-defined]
            self._aliases.clear()  # of which nobody knows what they hold
        if func is torch.ops.aten.lift_fresh.default or (operands and all(map(self.made_of_numbers, operands))):
            self._constants |= {id(x): x for x in results}
            return out
        for x in (*operands, *results):
            if func._schema.is_mutable:  # type: ignore[attr-defined]
                self._constants.pop(id(x), None)
        if func in _ALIASES:
            self._aliases[id(out)] = out, operands[0]
        return out
