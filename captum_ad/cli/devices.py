"""The device of ``--device``, and the threads of ``--threads``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from captum_ad._common.errors import InputError


def device_named(name: str) -> torch.device:
    """The device with this name, after a test that it works.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # drivers may warn in addition to the error
            device = torch.device(name)
            torch.ones(1, device=device).item()
    except Exception as error:  # each backend raises its own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise InputError(f"--device {name!r} cannot be used: {reason}. Usable here: {', '.join(_usable())}") from None
    return device


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Context manager in which torch runs on this many CPU threads; None: on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
