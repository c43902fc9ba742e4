"""Digests of files, to tell whether they are still the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from captum_ad._common.files import printable


def digest(path: Path | None) -> dict[str, str] | None:
    """A file's name and the SHA-256 of its contents; None if there is no such file."""
    if path is None or not path.is_file():
        return None
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return {"file": printable(str(path)), "sha256": found.hexdigest()}
