"""An output directory to which files come together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captum_ad._common.errors import InputError

STAGING = ".captum-ad-staging-"
"""What temporary directories are called."""


@contextmanager
def staged(out: Path, files: Sequence[str]) -> Iterator[Path]:
    """A temporary directory whose files move to `out` when the block ends well, and vanish when not.

    Parameters
    ----------
    out : Path
        Where the files go; made if it does not exist.
    files : sequence of str
        Names of the files that will be written, in the order in which they appear.

    Yields
    ------
    Path
        The temporary directory, on the same file system as `out`.

    Raises
    ------
    InputError
        Before the block runs: if `out` cannot be written.
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
    """A new one, inside `out` where that exists (it may be a file system of its own), else beside it."""
    place = out.absolute()
    while not place.is_dir():
        if place.exists():
            raise InputError(f"cannot write --out {str(out)!r}: {str(place)!r} is not a directory")
        place = place.parent
    try:
        return Path(tempfile.mkdtemp(prefix=STAGING, dir=place))
    except OSError as error:
        raise InputError(f"cannot write --out {str(out)!r}: {error.strerror} ({place})") from None
