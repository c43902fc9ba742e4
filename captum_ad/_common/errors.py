"""The error classes of captum_ad."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnsupportedOperationError(NotImplementedError):
    """The engine cannot follow an operation, or cannot tell where a tensor comes from, so a mask would be lost.

    Raised instead of continuing without the mask, which would give an answer that looks right but is wrong.
    The message names the operation, the module that calls it, and what to do.
    """


class UnknownNameError(ValueError):
    """An unknown name; the message suggests similar names, or lists the known ones."""

    def __init__(self, what: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(repr(name) for name in near) + "?"
        else:
            hint = "expected one of " + ", ".join(names[:20]) + ("" if len(names) <= 20 else ", …")
        super().__init__(f"unknown {what} {given!r}: {hint}")


class InputError(Exception):
    """Invalid input from the user; the message says what is wrong and what to do. Exit code 2 of the command line."""


class NaNWarning(UserWarning):
    """NaN in an input, which means a missing feature, is probably an accident."""


class EmptyExplanationWarning(UserWarning):
    """The model predicts the target with everything hidden, so the sufficient explanation is empty."""
