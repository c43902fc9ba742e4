"""Digests of settings, models and functions, to recognize whether a file of records is from the same configuration.

If an object's contents cannot be inspected, its digest is different every time, so that no records of something else
are reused.
"""

from __future__ import annotations

import functools
import hashlib
import types
import uuid
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_ad.metrics.backgrounds import OtherClassImages

_PLAIN = (bool, int, float, complex, str, bytes, range, torch.dtype, torch.device, torch.Size, np.generic, PurePath)

_Seen = dict[int, tuple[int, Any]]
"""Numbered objects by id. Holding the objects keeps their ids from being reused."""


def digest(*parts: str | Tensor | Any) -> str:
    """A digest: twelve hexadecimal digits of SHA-256.

    Parameters
    ----------
    *parts : Tensor or str
        Tensors are hashed by their values, dtype and shape, anything else by its ``repr``.

    Examples
    --------
    >>> digest(torch.zeros(2)) == digest(torch.zeros(2)), digest(torch.zeros(2)) == digest(torch.zeros(2, 1))
    (True, False)
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
            sha.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        else:
            sha.update(repr(part).encode())
    return sha.hexdigest()[:12]


def fingerprint(model: nn.Module) -> str:
    """A digest of a model's structure, weights, and the code of its classes."""
    named = sorted(model.state_dict().items())
    code = sorted({described(type(module)) for module in model.modules()})
    return digest(repr(model), *code, *(part for item in named for part in item))


def described(value: Any) -> str:
    """A text that is the same for the same object in any process, and different for any that behaves differently.

    Parameters
    ----------
    value : object
        Tensors and arrays are described by their values; functions by their code, constants, defaults, closures, and
        the globals that they use from their own module; other objects by the code of their class and their attributes.

    Returns
    -------
    str
        The text. Unique for every call if the object cannot be inspected, such as a random generator.

    Examples
    --------
    >>> def add(amount):
    ...     return lambda x, mask: x + amount
    >>> described(add(1)) == described(add(1)), described(add(1)) == described(add(2))
    (True, False)
    """
    return _described(value, {})


def _described(value: Any, seen: _Seen) -> str:
    """The text of a value. Objects already described are referred to by their number."""
    if value is None or value is Ellipsis or isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return _described(value.tolist(), seen)
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]}"
    if isinstance(value, tuple):
        return f"{type(value).__name__}{[_described(one, seen) for one in value]}"
    if isinstance(value, Set):
        return f"set{sorted(_described(one, seen) for one in value)}"  # their order differs between processes
    if isinstance(value, types.CodeType):
        consts = [_described(one, seen) for one in value.co_consts]
        return f"{value.co_code.hex()} {consts} {value.co_names} {value.co_varnames} {value.co_freevars}"
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if id(value) in seen:
        return f"again {seen[id(value)][0]}"
    seen[id(value)] = len(seen), value
    if isinstance(value, OtherClassImages):  # too large to hash
        settings = len(value.dataset), value.n, value.seed, value.to_confidence
        return f"{type(value).__name__}{_described(settings, seen)}"
    if isinstance(value, Mapping):
        return str({_described(name, seen): _described(one, seen) for name, one in value.items()})
    if isinstance(value, list):
        return str([_described(one, seen) for one in value])
    if isinstance(value, functools.partial):
        return f"partial{[_described(part, seen) for part in (value.func, value.args, value.keywords)]}"
    if isinstance(value, types.MethodType):
        return f"method{[_described(part, seen) for part in (value.__func__, value.__self__)]}"
    if isinstance(value, types.FunctionType):
        return _function(value, seen)
    if isinstance(value, type):
        return _class(value, seen)
    if isinstance(value, nn.Module):
        return f"{_class(type(value), seen)}{fingerprint(value)}"
    return _object(value, seen)


def _function(function: types.FunctionType, seen: _Seen) -> str:
    """A function's code and all values that it uses: its own module's globals by value, those of libraries by name."""
    closed = [_cell(cell, seen) for cell in function.__closure__ or ()]
    defaults = [_described(part, seen) for part in (function.__defaults__, function.__kwdefaults__)]
    used = {}
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            one = function.__globals__[name]
            home = getattr(one, "__module__", function.__module__)
            near = not isinstance(one, (type, types.FunctionType)) or home == function.__module__
            used[name] = _described(one, seen) if near else f"{home}.{one.__qualname__}"
    text = [f"{function.__module__}.{function.__qualname__}", _described(function.__code__, seen)]
    return digest(*text, *closed, *defaults, str(used))


def _cell(cell: types.CellType, seen: _Seen) -> str:
    try:
        return _described(cell.cell_contents, seen)
    except ValueError:  # the cell is still empty
        return "empty"


def _names(code: types.CodeType) -> set[str]:
    """The names of globals and attributes that code uses, including nested functions."""
    within = (_names(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*within)


def _class(kind: type, seen: _Seen) -> str:
    """A class's name and the code of its methods, including inherited ones; classes of PyTorch and Python by name.

    Unlike for functions, globals that the methods use are not included.
    """
    text = [f"{kind.__module__}.{kind.__qualname__}"]
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "torch", "torchvision", "typing", "abc", "collections"):
            continue
        for name, member in sorted(vars(base).items()):
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(inner, types.FunctionType):
                defaults = [_described(part, seen) for part in (inner.__defaults__, inner.__kwdefaults__)]
                closed = [_cell(cell, seen) for cell in inner.__closure__ or ()]
                text += [name, _described(inner.__code__, seen), *defaults, *closed]
    return f"{text[0]} {digest(*text)}"


def _object(value: Any, seen: _Seen) -> str:
    """An object of any class, by its attributes."""
    kind: Any = type(value)
    name = getattr(value, "__qualname__", None)
    if callable(value) and name is not None:  # from a library written in C
        return f"{getattr(value, '__module__', None)}.{name}"
    if is_dataclass(value):
        return f"{_class(kind, seen)}{[_described(getattr(value, one.name), seen) for one in fields(value)]}"
    shown = "" if kind.__repr__ is object.__repr__ else repr(value)
    if hasattr(value, "__dict__"):
        return f"{_class(kind, seen)}{_described(vars(value), seen)}{'' if ' at 0x' in shown else shown}"
    return f"{_class(kind, seen)}{shown}" if shown and " at 0x" not in shown else f"{kind} {uuid.uuid4().hex}"
