"""Writing files atomically."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file completely, or leave it as it was.

    Parameters
    ----------
    path : Path
        The file; its directory must exist. While writing, there is a hidden temporary file next to it.
    text : str
        The contents, written as UTF-8.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def printable(text: str) -> str:
    """A file name that can be printed and written: bytes that are not UTF-8 are replaced by their hex codes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\x", "_")
