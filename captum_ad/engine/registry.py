"""Which rule carries masks through which operation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import torch

from captum_ad.errors import UnknownNameError

OperationRule = Callable[..., Any]
"""``rule(ad, op, *args, **kwargs)``: calls ``op`` and returns its result through ``ad.emit``."""

_R = TypeVar("_R", bound=OperationRule)
_NAMESPACES = (torch, torch.nn.functional, torch.Tensor, torch._C._nn, torch.special)
_CONVERSIONS = ("__bool__", "__float__", "__int__", "__long__")  # to a Python number, which no mask can follow
_RULES: dict[Hashable, OperationRule] = {}
_ALWAYS: set[Hashable] = set()


def register_rule(*operations: str | Callable[..., Any], always: bool = False) -> Callable[[_R], _R]:
    """Decorator: carry masks through the given operations by this rule.

    A rule is called instead of the operation when an operand has deactivated positions, as
    ``rule(ad, op, *args, **kwargs)``. It computes the result and hands it, with its mask, to ``ad``:

    - ``ad.mask(x)``: the :class:`FeatureMask` of ``x``, None if nothing of it is deactivated;
    - ``ad.deactivate(x)``: ``x`` with zeros at its deactivated positions (a checkpoint);
    - ``ad.emit(out, mask)``: ``out``, marked with its mask.

    Parameters
    ----------
    *operations : str or callable
        A callable that torch dispatches (``torch.cumsum``, ``torch.ops.my.op``), or a name, which
        stands for the function, the method, its in-place and its operator forms all at once.
    always : bool
        Call the rule also when nothing is deactivated yet: for operations whose result may hold
        positions that are no features (padding, concatenation with constants).

    Raises
    ------
    UnknownNameError
        If a name is no operation of torch.

    Examples
    --------
    An operation on each element by itself leaves the mask as it is. One that mixes positions begins
    with ``ad.deactivate(x)``, and emits the mask of what it computes from them.

    >>> import torch
    >>> from captum_ad import register_rule
    >>> @register_rule("sinc")
    ... def sinc(ad, op, x):
    ...     return ad.emit(op(x), ad.mask(x))
    """

    def decorate(rule: _R) -> _R:
        for operation in operations:
            for function in _forms(operation) if isinstance(operation, str) else [operation]:
                _RULES[function] = rule
                (_ALWAYS.add if always else _ALWAYS.discard)(function)
        return rule

    return decorate


def rule_for(operation: Hashable, masked: bool) -> OperationRule | None:
    """The rule to run for an operation on inputs' data; None: run the operation itself."""
    return _RULES.get(operation) if masked or operation in _ALWAYS else None


def _forms(name: str) -> Iterator[Callable[..., Any]]:
    spellings = (name, f"{name}_", f"__{name}__", f"__i{name}__", f"__r{name}__")
    found = [getattr(space, s, None) for space in _NAMESPACES for s in spellings if s not in _CONVERSIONS]
    functions = [f for f in found if callable(f) and not isinstance(f, type)]
    if not functions:
        raise UnknownNameError("torch operation", name, {n for s in _NAMESPACES for n in dir(s) if n[0] != "_"})
    yield from functions


def is_in_place(operation: Any) -> bool:
    """Whether an operation writes into its first operand, by torch's naming."""
    name: str = getattr(operation, "__name__", "")
    if name.startswith("__"):
        return (name.startswith("__i") and name not in ("__invert__", "__int__", "__index__")) or name == "__setitem__"
    return name.endswith("_")
