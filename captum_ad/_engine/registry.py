"""Which rule carries masks through which operation: :func:`register_rule` adds one, :func:`rule_for` looks it up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch._library.custom_ops import CustomOpDef
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import resolve_name

from captum_ad._common.errors import UnknownNameError
from captum_ad._engine.blocks import block_in, block_of

OperationRule = Callable[..., Any]
"""``rule(ad, op, *args, **kwargs)``: calls ``op`` and returns its result, marked by ``ad.emit``."""

_R = TypeVar("_R", bound=OperationRule)
_NAMESPACES = (torch, torch.nn.functional, torch.Tensor, torch._C._nn, torch.special)
_CONVERSIONS = ("__bool__", "__float__", "__int__", "__long__")  # to a Python number, which no mask can follow
_RULES: dict[Hashable, OperationRule] = {}
_ALWAYS: set[Hashable] = set()
_versions = itertools.count()
_version = next(_versions)


def rules_version() -> int:
    """A number that changes whenever a rule is added, replaced or removed."""
    return _version


def _changed() -> None:
    global _version
    _version = next(_versions)


def register_rule(*operations: str | type | Callable[..., Any], always: bool = False) -> Callable[[_R], _R]:
    """Decorator: register a rule, a function that carries masks through the given operations.

    The rule is called instead of the operation when an operand has deactivated positions, as
    ``rule(ad, op, *args, **kwargs)``. It computes the result and the result's mask with these methods:

    - ``ad.mask(x)``: the :class:`~captum_ad.PositionMask` of ``x``; None if no position is deactivated;
    - ``ad.deactivate(x)``: ``x`` with zeros at its deactivated positions (a checkpoint), for operations
      that mix positions; ``ad.window_input(x, reach)``: the same for windows, with borders filled as
      the knob ``border`` says;
    - ``ad.follow(function, *args)``: runs a function made of operations that have rules, which carry
      the masks;
    - ``ad.rule`` and ``ad.tau``: the knobs and the threshold, for operations with windows or sums;
    - ``ad.refuse(why)``: stops the forward with an error;
    - ``ad.emit(out, mask)``: returns ``out``, marked with its mask. Call it for every tensor that the
      rule returns, each tensor of a tuple by itself, except for results of ``ad.follow``.

    Everything else that a rule calls, ``op`` included, runs without being intercepted. A mask has as
    many dimensions as its tensor and broadcasts to it.

    Parameters
    ----------
    *operations : str, callable or class
        Each is one of:

        - a name, which covers torch's function, method, in-place and operator forms at once;
        - ``"namespace::name"`` for an operation made with torch.library, loaded or not;
        - a callable that torch dispatches (``torch.trapezoid``), including your own made with
          torch.library (``torch.ops.my.op`` with all its overloads, or what ``custom_op`` returned);
        - a subclass of ``torch.nn.Module`` or of ``torch.autograd.Function``.
    always : bool
        Call the rule even if nothing is deactivated yet: for operations whose result may hold
        positions that are not features (padding, concatenation with constants).

    Raises
    ------
    UnknownNameError
        If a name is not an operation of torch.
    TypeError
        If a class is neither a module type nor an autograd function, or its calls cannot be intercepted.

    Notes
    -----
    The rule of a module type is called for its ``forward`` on tensors that come from features (also in
    tuples, lists and dicts): ``op`` is that method, and ``op.__self__`` the module with its parameters.
    It does not apply to a subclass that defines its own ``forward``. Registering changes the class, never
    its instances, and has no effect outside of masked forwards. The code inside the module need not be
    Python that can be followed. To give a rule to a ScriptModule (whose type is not the one that was
    scripted), or to a quantized or exported part, put it inside a module of your own.

    The rule of an autograd function is called for its ``apply``.

    A rule stays for the rest of the process, or until the end of ``with temporary_rules():``.

    Examples
    --------
    An operation on each element by itself leaves the mask as it is:

    >>> import torch
    >>> from captum_ad import ADForward, PositionMask, register_rule
    >>> @register_rule("airy_ai")
    ... def airy(ad, op, x):
    ...     return ad.emit(op(x), ad.mask(x))

    One that mixes positions begins with a checkpoint and computes a mask: the area below a line is kept
    where any point of the line is.

    >>> @register_rule("trapezoid")
    ... def trapezoid(ad, op, y, *, dim=-1):
    ...     kept = ad.mask(y).kept.expand(y.shape)
    ...     return ad.emit(op(ad.deactivate(y), dim=dim), PositionMask(kept.any(dim)))

    Your own autograd function (here, an element-wise one):

    >>> class Sign(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x.sign()
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         return gradient
    >>> @register_rule(Sign)
    ... def straight_through(ad, op, x):
    ...     return ad.emit(op(x), ad.mask(x))

    A module type, whatever runs inside (here, a gate per channel, computed from the whole map):

    >>> class Gate(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.fft.fft2(x).abs().mean((2, 3), keepdim=True)
    >>> @register_rule(Gate)
    ... def gate(ad, op, x):
    ...     kept = ad.mask(x).kept.any((2, 3), keepdim=True)  # active if anything is
    ...     return ad.emit(op(ad.deactivate(x)), PositionMask(kept))
    >>> x, mask = torch.rand(1, 3, 8, 8), torch.arange(8).expand(8, 8) < 4
    >>> ad = ADForward(Gate().eval())
    >>> torch.equal(ad(x, mask=mask), ad.model(x * mask))
    True
    """
    keys = [key for op in operations for key in (forms(op) if isinstance(op, str) else [_key(op)])]

    def decorate(rule: _R) -> _R:
        for key in keys:
            _RULES[key] = rule
            (_ALWAYS.add if always else _ALWAYS.discard)(key)
        _changed()
        return rule

    return decorate


@contextmanager
def temporary_rules() -> Iterator[None]:
    """Context manager that undoes, at its end, what :func:`register_rule` added or replaced inside it.

    Examples
    --------
    >>> from captum_ad import register_rule, temporary_rules
    >>> with temporary_rules():
    ...     rule = register_rule("relu")(lambda ad, op, x: ad.refuse("is not wanted here"))
    """
    rules, always = dict(_RULES), set(_ALWAYS)
    try:
        yield
    finally:
        _RULES.clear()
        _RULES.update(rules)
        _ALWAYS.clear()
        _ALWAYS.update(always)
        _changed()


TAKES_PARTS: set[OperationRule | None] = set()
"""Rules that accept operands of which only a part has been computed (:mod:`captum_ad._engine.crop`)."""


def takes_parts(rule: _R) -> _R:
    """Decorator for a rule that accepts operands of which only a part has been computed."""
    TAKES_PARTS.add(rule)
    return rule


def rule_for(operation: Any, masked: bool) -> OperationRule | None:
    """The rule to run for an operation on data that comes from inputs; None: run the operation itself."""
    key = operation if operation in _RULES else key_of_call(operation)
    return _RULES.get(key) if masked or key in _ALWAYS else None


def has_rule(module: nn.Module) -> bool:
    """Whether there is a rule for a module's type."""
    block = block_in(module)
    return block is not None and block.dispatch in _RULES


def has_rule_for(kind: type) -> bool:
    """Whether there is a rule for a module type."""
    return block_of(kind).dispatch in _RULES


def _key(operation: Any) -> Hashable:
    """The key under which an operation that is not given by name is registered."""
    if isinstance(operation, type):
        return block_of(operation).dispatch
    if isinstance(operation, CustomOpDef):
        return cast(Hashable, operation._opoverload.overloadpacket)
    if not callable(operation):
        raise TypeError(f"a rule is registered for an operation's name, a callable or a class, not {operation!r}")
    return cast(Hashable, operation)


def key_of_call(operation: Any) -> Hashable:
    """The key under which a call is looked up: a method's function, an overload's operator."""
    if isinstance(operation, MethodType):
        return operation.__func__
    packet = operation.overloadpacket if isinstance(operation, OpOverload) else operation
    return str(packet) if isinstance(packet, OpOverloadPacket) and packet not in _RULES else cast(Hashable, packet)


def forms(name: str) -> Iterator[Hashable]:
    """The keys of torch's function, method, in-place and operator forms of a name."""
    if "::" in name:  # made with torch.library, and possibly not loaded yet
        yield name.replace("::", ".")
        return
    spellings = (name, f"{name}_", f"__{name}__", f"__i{name}__", f"__r{name}__")
    found = [getattr(space, s, None) for space in _NAMESPACES for s in spellings if s not in _CONVERSIONS]
    functions = [f for f in found if callable(f) and not isinstance(f, type)]
    if not functions:
        raise UnknownNameError("torch operation", name, {n for s in _NAMESPACES for n in dir(s) if n[0] != "_"})
    yield from functions


def is_own(operation: Any) -> bool:
    """Whether an operation is not torch's own: of a module type or autograd function, or made with torch.library."""
    made = isinstance(operation, (OpOverload, OpOverloadPacket)) and not str(operation).startswith("aten.")
    return made or isinstance(operation, MethodType)


def is_in_place(operation: Any) -> bool:
    """Whether an operation writes into its first operand, according to torch's naming convention."""
    name: str = getattr(operation, "__name__", "")
    if name.startswith("__"):
        return (name.startswith("__i") and name not in ("__invert__", "__int__", "__index__")) or name == "__setitem__"
    return name.endswith("_")


def may_write(operation: Any, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether a call may write into its first operand: ``x.relu_()``, or ``relu(x, inplace=True)``."""
    return is_in_place(operation) or bool(named.get("inplace")) or any(arg is True for arg in args)


def name_of(operation: Callable[..., Any] | None) -> str:
    """The name of an operation for messages."""
    if operation is None:
        return "the model's output"
    owner = getattr(operation, "__self__", None)
    if isinstance(operation, MethodType):
        kind = owner if isinstance(owner, type) else type(owner)
        return f"{kind.__name__}.{operation.__name__}"
    name = resolve_name(operation) or getattr(owner, "__name__", "") or getattr(operation, "__name__", repr(operation))
    return f"operation {name}"
