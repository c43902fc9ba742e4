"""An output directory to which files come together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from captum_ad.cli.errors import InputError

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
    staging = _temporary_directory(out)
    try:
        yield staging
        out.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(staging / name, out / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_occupied(out: Path, files: Sequence[str], *, force: bool, way_out: str = "") -> None:
    """Refuse a directory that files should not or cannot go to, before anything runs.

    Parameters
    ----------
    out : Path
        The directory.
    files : sequence of str
        Names of the files that will be written.
    force : bool
        It may hold files already.
    way_out : str
        What else the user can do if it does.

    Raises
    ------
    InputError
        If it is no directory, cannot be written, has a directory where a file goes, or is not empty without `force`.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file: name a directory")
    try:
        occupied = out.exists() and any(out.iterdir())
    except OSError as error:
        raise InputError(f"cannot read --out {str(out)!r}: {error.strerror}") from None
    if occupied and not force:
        raise InputError(
            f"--out {str(out)!r} exists and is not empty: choose another, or replace its report by --force{way_out}"
        )
    for name in files:
        if (out / name).is_dir():
            raise InputError(f"{str(out / name)!r} is a directory where the report has a file: move it away")
    shutil.rmtree(_temporary_directory(out))


def remove(out: Path, files: Iterable[str]) -> None:
    """Remove files of an earlier report; names that lead out of the directory are left alone."""
    for name in files:
        path = out / name
        if Path(name).name == name and path.is_file():
            path.unlink()


def _temporary_directory(out: Path) -> Path:
    """Inside `out` where that exists (it may be a file system of its own), else beside it."""
    place = out.absolute()
    while not place.is_dir():
        if place.exists():
            raise InputError(f"cannot write --out {str(out)!r}: {str(place)!r} is not a directory")
        place = place.parent
    try:
        return Path(tempfile.mkdtemp(prefix=STAGING, dir=place))
    except OSError as error:
        raise InputError(f"cannot write --out {str(out)!r}: {error.strerror} ({place})") from None
