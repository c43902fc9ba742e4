"""Import a model or a function from the user's own Python code, a module or a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from captum_ad._common.errors import InputError, UnknownNameError


def split_name(name: str) -> tuple[str, str]:
    """Split ``module:function`` or ``file.py:function``; the second part is empty if there is no colon."""
    where, _, what = name.rpartition(":") if ".py:" in name else name.partition(":")
    return where, what


def source_of(name: str) -> Path | None:
    """The file of a user's own model; None for the demo's, torchvision's and timm's models."""
    where, what = split_name(name)
    if not what or where in ("torchvision", "timm"):
        return None
    if where.endswith(".py"):
        return Path(where)
    with _importable(Path.cwd()):
        try:
            spec = importlib.util.find_spec(where)
        except (ImportError, ValueError):
            return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def check_source(name: str, option: str) -> None:
    """Raise InputError if the name is ``file.py:function`` and there is no such file."""
    path = Path(split_name(name)[0])
    if path.suffix == ".py" and not path.is_file():
        raise InputError(f"no file at {str(path)!r} for {option}: expected FILE.py:FUNCTION")


def made_by(name: str) -> tuple[nn.Module, Callable[..., Tensor] | None]:
    """The model that ``package.module:function`` or ``file.py:function`` returns, and its transform if there is one.

    The function takes no arguments and returns a model or (model, transform). A model instead of a function works
    too. The code can import from the working directory and from the folder of the file.

    Raises
    ------
    InputError, UnknownNameError
        If the function cannot be imported or called, or returns something else.
    """
    with _importable_for(name):
        make = _found(name, "--model")
        if not callable(make):
            raise InputError(f"{name} cannot be called: --model expects a function without arguments")
        try:
            made: Any = make if isinstance(make, nn.Module) else make()
        except (Exception, SystemExit) as error:
            raise InputError(f"{name}() failed: {type(error).__name__}: {error}") from error
    model, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module) or not (transform is None or callable(transform)):
        raise InputError(f"{name}() returned {type(made).__name__}, expected a torch.nn.Module or (module, transform)")
    return model, transform


def own_function(name: str, option: str) -> Callable[..., Any]:
    """Import the function of ``package.module:function`` or ``file.py:function``.

    Raises
    ------
    InputError, UnknownNameError
        If it cannot be imported, or is not a function.
    """
    with _importable_for(name):
        function = _found(name, option)
    if not callable(function):
        raise InputError(f"{name} cannot be called: {option} expects a function")
    found: Callable[..., Any] = function
    return found


def _found(name: str, option: str) -> Any:
    check_source(name, option)
    where, what = split_name(name)
    try:
        module = _module_of(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot import {where!r} for {option}: {type(error).__name__}: {error}") from error
    found = getattr(module, what, None)
    if found is None:
        raise UnknownNameError(f"name in {where}", what, [n for n in dir(module) if n[0] != "_"])
    return found


def _module_of(path: Path) -> ModuleType:
    name = f"captum_ad_own_{path.stem}"  # under its own name, a file such as torch.py would hide a package
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _importable_for(name: str) -> AbstractContextManager[None]:
    where, _ = split_name(name)
    return _importable(Path(where).parent if where.endswith(".py") else Path.cwd(), Path.cwd())


@contextmanager
def _importable(*folders: Path) -> Iterator[None]:
    entries = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = entries
    try:
        yield
    finally:
        for entry in entries:
            sys.path.remove(entry)
