"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from captum_ad.cli.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser that raises an InputError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse what was given, in one line.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, not too small for what it is for."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "integer"
    return number
