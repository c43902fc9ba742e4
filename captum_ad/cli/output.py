"""An output directory that holds all of a run's files or none of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captum_ad.cli.errors import InputError


@contextmanager
def staged(out: Path, files: Sequence[str], *, force: bool) -> Iterator[Path]:
    """A temporary directory whose files move to `out` when the block ends well, and vanish when not.

    Parameters
    ----------
    out : Path
        Where the files go; made if it does not exist.
    files : sequence of str
        Names of the files that will be written, in the order in which they appear.
    force : bool
        Write into an `out` that holds files already: ours are replaced, others stay.

    Yields
    ------
    Path
        The temporary directory, on the same file system as `out`.

    Raises
    ------
    InputError
        Before the block runs: if `out` is not empty and `force` is not set, or cannot be written.
    """
    _refuse_occupied(out, files, force)
    staging = _temporary_directory(out)
    try:
        yield staging
        _move(staging, out, files)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_occupied(out: Path, files: Sequence[str], force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file: name a directory")
    try:
        occupied = out.exists() and any(out.iterdir())
    except OSError as error:
        raise InputError(f"cannot read --out {str(out)!r}: {error.strerror}") from None
    if occupied and not force:
        raise InputError(
            f"--out {str(out)!r} exists and is not empty: choose another, or replace its report by --force"
        )
    for name in files:
        if (out / name).is_dir():
            raise InputError(f"{str(out / name)!r} is a directory where the report has a file: move it away")


def _temporary_directory(out: Path) -> Path:
    """Inside `out` where that exists (it may be a file system of its own), else beside it."""
    place = out.absolute()
    while not place.is_dir():
        if place.exists():
            raise InputError(f"cannot write --out {str(out)!r}: {str(place)!r} is not a directory")
        place = place.parent
    try:
        return Path(tempfile.mkdtemp(prefix=".captum-ad-", dir=place))
    except OSError as error:
        raise InputError(f"cannot write --out {str(out)!r}: {error.strerror} ({place})") from None


def _move(staging: Path, out: Path, files: Sequence[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in files:
        os.replace(staging / name, out / name)
