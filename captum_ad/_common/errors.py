"""The errors that captum_ad raises on its own account, and the one way it suggests names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnsupportedOperationError(NotImplementedError):
    """A mask would be lost: the engine cannot follow an operation, or where a tensor came from.

    Raised instead of going on without the mask, which would give an answer that looks right and
    is not. The message names the operation, the module that calls it and the way out.
    """


class UnknownNameError(ValueError):
    """A name that stands for nothing; the message lists what it could have been."""

    def __init__(self, what: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(repr(name) for name in near) + "?"
        else:
            hint = "expected one of " + ", ".join(names[:20]) + ("" if len(names) <= 20 else ", …")
        super().__init__(f"unknown {what} {given!r}: {hint}")


class InputError(Exception):
    """What the user gave cannot be worked with; the message says what and what to do next. Exit code 2."""
