"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole, or as it was before.

    Parameters
    ----------
    path : Path
        Its directory exists; beside it stands a hidden file of one name while it is written.
    text : str
        Written in UTF-8.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def printable(text: str) -> str:
    """A file's name as it can be shown and written: bytes that are not UTF-8 in their numbers."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\x", "_")
