"""What a report's folder holds already, and what a run may do with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from captum_ad.cli.errors import InputError
from captum_ad.cli.output import STAGING

LOCK = ".captum-ad.lock"


def refuse_foreign(out: Path, files: Sequence[str], known: Sequence[str], sources: Sequence[str]) -> None:
    """Refuse to replace what no report has written.

    Parameters
    ----------
    out : Path
        The folder of the report.
    files : sequence of str
        Names of the files that will be written there.
    known : sequence of str
        Those that an earlier report says are its own.
    sources : sequence of str
        The photographs' files.

    Raises
    ------
    InputError
        If one of the files is a photograph, or is there and belongs to no report.
    """
    given = {_real(source) for source in sources}
    for name in files:
        path = out / name
        if path.exists() and _real(path) in given:
            raise InputError(
                f"{str(path)!r} is one of the photographs, and the report has a file there: choose another --out"
            )
        beside = [path.with_suffix(kind) for kind in (".png", ".npz") if path.suffix != kind]
        unfinished = path.suffix in (".png", ".npz") and all(
            one.exists() for one in beside
        )  # stopped before its summary
        if path.exists() and name not in known and not unfinished:
            raise InputError(
                f"{str(path)!r} exists and is no file of an earlier report, which would be written there: move it "
                "away, or choose another --out"
            )


@contextmanager
def occupied_alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder, and clear away what killed ones have left there.

    Raises
    ------
    InputError
        If another run is writing there.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
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
            with suppress(OSError):  # it holds something
                for folder in made:
                    folder.rmdir()


def _real(path: Path | str) -> str:
    return os.path.realpath(path)
