"""Packages that only some features need."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str, package: str, extra: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        What to import, e.g. ``"scipy.stats"``.
    package : str
        The name that pip knows it by.
    extra : str
        The extra of captum_ad that brings it.

    Raises
    ------
    ImportError
        If it is missing; the message has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'this needs {package}: pip install "captum_ad[{extra}]"') from error
