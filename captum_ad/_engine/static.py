"""Whether the engine may look at mask values to decide what to compute: not while it records one program for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from captum_ad._common.errors import UnsupportedOperationError

_varies: ContextVar[Callable[[Tensor], bool] | None] = ContextVar("varies", default=None)


class NeedsValuesError(UnsupportedOperationError):
    """Raised while recording if a computation depends on values that differ from run to run."""


def is_recorded() -> bool:
    """Whether the forward is being recorded, to be run again on other values."""
    return _varies.get() is not None


def is_known(x: Tensor) -> bool:
    """Whether the values of a tensor may be read. While recording, those that differ from run to run may not."""
    varies = _varies.get()
    return varies is None or not varies(x)


def is_at_hand(x: Tensor) -> bool:
    """Whether the values of a tensor may be read, and Python does not have to wait for another device to read them."""
    return x.device.type == "cpu" and is_known(x)


@contextmanager
def unknown_values(varies: Callable[[Tensor], bool] | None) -> Iterator[None]:
    """Context manager under which the values of tensors for which `varies` is True may not be read; None: all may."""
    token = _varies.set(varies)
    try:
        yield
    finally:
        _varies.reset(token)


def as_bytes(x: Tensor) -> Tensor:
    """Booleans as uint8: a view, or a copy while recording, because torch's compiler cannot vectorize such views."""
    return x.to(torch.uint8) if is_recorded() else x.view(torch.uint8)


def as_booleans(x: Tensor) -> Tensor:
    """Bytes 0 and 1 as booleans: the reverse of :func:`as_bytes`."""
    return x.bool() if is_recorded() else x.view(torch.bool)
