"""Write the files of an output directory together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captum_ad._common.errors import InputError

STAGING = ".captum-ad-staging-"
"""The prefix of temporary directories."""


@contextmanager
def staged(out: Path, files: Sequence[str]) -> Iterator[Path]:
    """A temporary directory whose files move to `out` if the block succeeds, and are deleted if it raises.

    Parameters
    ----------
    out : Path
        Where the files go; created if it does not exist.
    files : sequence of str
        Names of the files that will be written, in the order in which they appear.

    Yields
    ------
    Path
        The temporary directory, on the same file system as `out`.

    Raises
    ------
    InputError
        If `out` cannot be written to; raised before the block runs.
    """
    staging = temporary_directory(out)
    try:
        yield staging
        out.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(staging / name, out / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def temporary_directory(out: Path) -> Path:
    """A new temporary directory on the file system of `out`: inside it if it exists, else in its nearest parent."""
    place = out.absolute()
    while not place.is_dir():
        if place.exists():
            raise InputError(f"cannot write --out {str(out)!r}: {str(place)!r} is not a directory")
        place = place.parent
    try:
        return Path(tempfile.mkdtemp(prefix=STAGING, dir=place))
    except OSError as error:
        raise InputError(f"cannot write --out {str(out)!r}: {error.strerror} ({place})") from None
