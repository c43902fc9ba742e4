"""For tests and docstrings alike: what one of them registers or draws is gone in the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator

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
