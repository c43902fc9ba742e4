"""For tests and docstrings alike: what one of them registers or draws is gone in the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

# Read when torch loads. The tests' tensors are small, and each pytest-xdist process has a core already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from captum_ad import temporary_rules


@pytest.fixture(autouse=True)
def rules_of_the_package_only() -> Iterator[None]:
    """Rules that a test or a docstring registers are gone in the next one."""
    with temporary_rules():
        yield


@pytest.fixture(autouse=True)
def no_figures_of_others() -> None:
    """Pyplot's figures outlive the test or docstring that opened them."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
