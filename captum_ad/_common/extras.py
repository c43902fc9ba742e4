"""Packages that only some features need."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any


def install_hint(packages: Sequence[str], extra: str) -> str:
    """The line that installs what is missing.

    captum_ad itself is on no index, so that its name alone installs nothing.

    Parameters
    ----------
    packages : sequence of str
        The names that pip knows them by.
    extra : str
        The extra of captum_ad that brings them.

    Examples
    --------
    >>> print(install_hint(["scipy", "pandas"], "metrics"))
    pip install scipy pandas (or pip install ".[metrics]" in the folder of captum_ad's source)
    """
    return f'pip install {" ".join(packages)} (or pip install ".[{extra}]" in the folder of captum_ad\'s source)'


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
        raise ImportError(f"this needs {package}: {install_hint([package], extra)}") from error
