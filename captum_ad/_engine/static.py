"""Whether the values of masks may decide what is computed: not while one program is recorded for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from captum_ad._common.errors import UnsupportedOperationError

_varies: ContextVar[Callable[[Tensor], bool] | None] = ContextVar("varies", default=None)


class NeedsValuesError(UnsupportedOperationError):
    """Something depends on values that differ from run to run, so that no one program does it."""


def is_recorded() -> bool:
    """Whether what runs is written down, to be run again on other values."""
    return _varies.get() is not None


def is_known(x: Tensor) -> bool:
    """Whether the values of a tensor may be asked for: those that a recorded program is to run on are not known."""
    varies = _varies.get()
    return varies is None or not varies(x)


@contextmanager
def unknown_values(varies: Callable[[Tensor], bool]) -> Iterator[None]:
    """Context in which the values of these tensors are not known."""
    token = _varies.set(varies)
    try:
        yield
    finally:
        _varies.reset(token)
