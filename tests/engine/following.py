"""Runs code under an interpreter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from torch import Tensor

from captum_ad import PositionMask
from captum_ad._engine import Interpreter
from captum_ad._engine.provenance import Provenance, UnknownOriginError

T = TypeVar("T")


def follow(
    make: Callable[[], Interpreter], x: Tensor, mask: PositionMask | None, run: Callable[[Tensor], T]
) -> tuple[Interpreter, T]:
    """The interpreter that `make` makes, and what `run` gives under it.

    As in an ADForward, memory is followed (slow) only if a tensor of unknown origin turns up. Here, that is a constant
    which a test holds and which is no parameter.
    """

    def attempt(memory: bool) -> tuple[Interpreter, T]:
        ad = make()
        start = ad.start(x, mask)
        if memory:
            ad.provenance = Provenance(start)
        with ad.provenance or nullcontext(), ad:
            return ad, run(start)

    try:
        return attempt(memory=False)
    except UnknownOriginError:
        return attempt(memory=True)
