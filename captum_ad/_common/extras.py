"""Optional packages, which only some features need."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any


def install_hint(packages: Sequence[str], extra: str) -> str:
    """The pip command that installs missing packages.

    It does not use the name captum_ad, because captum_ad is not on a package index.

    Parameters
    ----------
    packages : sequence of str
        Their names for pip.
    extra : str
        The extra of captum_ad that installs them.

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
        The module to import, e.g. ``"scipy.stats"``.
    package : str
        The package's name for pip.
    extra : str
        The extra of captum_ad that installs it.

    Raises
    ------
    ImportError
        If it is missing; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {package}: {install_hint([package], extra)}") from error
