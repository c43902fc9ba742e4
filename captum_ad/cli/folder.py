"""Checks of a report's folder before a run writes to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from captum_ad._common.errors import InputError
from captum_ad.cli.output import STAGING, temporary_directory

LOCK = ".captum-ad.lock"


def refuse_occupied(out: Path, files: Sequence[str], *, force: bool, way_out: str = "") -> None:
    """Refuse a directory that cannot or should not be written to, before anything runs.

    Parameters
    ----------
    out : Path
        The directory.
    files : sequence of str
        Names of the files that will be written.
    force : bool
        Allow a directory that is not empty.
    way_out : str
        For the message: what else the user can do if it is not empty.

    Raises
    ------
    InputError
        If it is not a directory, cannot be written, has a directory where a file goes, or is not empty without `force`.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file: name a directory")
    try:
        occupied = out.exists() and any(out.iterdir())
    except OSError as error:
        raise InputError(f"cannot read --out {str(out)!r}: {error.strerror}") from None
    if occupied and not force:
        raise InputError(
            f"--out {str(out)!r} exists and is not empty: choose another, or replace its report with --force{way_out}"
        )
    for name in files:
        if (out / name).is_dir():
            raise InputError(f"{str(out / name)!r} is a directory, but the report has a file there: move it away")
    shutil.rmtree(temporary_directory(out))


def remove(out: Path, files: Iterable[str]) -> None:
    """Remove files of an earlier report; names that point outside the directory are ignored."""
    for name in files:
        path = out / name
        if Path(name).name == name and path.is_file():
            path.unlink()


def refuse_foreign(out: Path, files: Sequence[str], known: Sequence[str], sources: Sequence[str]) -> None:
    """Refuse to replace files that no report has written.

    Parameters
    ----------
    out : Path
        The folder of the report.
    files : sequence of str
        Names of the files that will be written there.
    known : sequence of str
        Names of the files of an earlier report there.
    sources : sequence of str
        The photographs' files.

    Raises
    ------
    InputError
        If one of the files is a photograph, or exists and does not belong to a report.
    """
    given = {_real(source) for source in sources}
    for name in files:
        path = out / name
        if path.exists() and _real(path) in given:
            raise InputError(
                f"{str(path)!r} is one of the photographs, and the report would overwrite it: choose another --out"
            )
        beside = [path.with_suffix(kind) for kind in (".png", ".npz") if path.suffix != kind]
        unfinished = path.suffix in (".png", ".npz") and all(
            one.exists() for one in beside
        )  # a run that was stopped before it wrote its summary
        if path.exists() and name not in known and not unfinished:
            raise InputError(
                f"{str(path)!r} exists and is not a file of an earlier report; this one would overwrite it: move it "
                "away, or choose another --out"
            )


@contextmanager
def occupied_alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder, and remove what killed runs have left there.

    Raises
    ------
    InputError
        If another run is writing there.
    """
    try:
        import fcntl
    except ImportError:  # Windows does not have it
        yield
        return
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    path = out / LOCK
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another run is writing to {str(out)!r}: wait for it, or choose another --out") from None
        for left in out.glob(f"{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder is not empty
                for folder in made:
                    folder.rmdir()


def _real(path: Path | str) -> str:
    return os.path.realpath(path)
