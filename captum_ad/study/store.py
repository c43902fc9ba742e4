"""Records of a study: SQLite files to which units are added one by one, each completely or not at all.

Every process writes its own file, so none waits for another, and a killed process damages no other's records. Thanks to
SQLite's write-ahead log, adding a unit takes the same time however many there are. Units that were added stay even if
the process is killed; after a power failure the last few units may be lost, but no file is damaged.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_ad.study.units import Unit

SCHEMA = 1
"""The version of the tables below; files with another version are refused."""

_MARK = 0x41445354  # "ADST": tells the file from other SQLite files, for us and for the command `file`
_WAIT = 60.0  # seconds to wait for a reader that locks the file
_NAME = re.compile(r"records-\d+\.sqlite")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "explanations": tuple(
        "backgrounds gamma found size confidence rho confidence_planted n_backgrounds excluded".split()
    ),
    "scores": ("score", "level", "value"),
    "pictures": ("kind", "data"),
}
"""The columns of each table, in order, without the unit's name, target and time."""

_TABLES = f"""
CREATE TABLE units (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, image TEXT NOT NULL, method TEXT NOT NULL, masking TEXT NOT NULL,
    target, seconds REAL NOT NULL, UNIQUE (model, image, method, masking)
);
CREATE TABLE explanations (
    unit INTEGER NOT NULL REFERENCES units, backgrounds TEXT NOT NULL, gamma REAL, found INTEGER NOT NULL, size REAL,
    confidence REAL, rho REAL, confidence_planted REAL, n_backgrounds INTEGER NOT NULL, excluded INTEGER NOT NULL
);
CREATE TABLE scores (unit INTEGER NOT NULL REFERENCES units, score TEXT NOT NULL, level REAL, value REAL);
CREATE TABLE pictures (unit INTEGER NOT NULL REFERENCES units, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX pictures_of_unit ON pictures (unit);
CREATE TABLE images (
    model TEXT NOT NULL, image TEXT NOT NULL, label INTEGER, predicted INTEGER, confidence REAL, picture BLOB,
    PRIMARY KEY (model, image)
);
PRAGMA application_id = {_MARK};
PRAGMA user_version = {SCHEMA};
"""


class StoreError(ValueError):
    """Raised if records cannot be read or added; the message says what to do."""


@dataclass
class Measured:
    """The measurements of one unit.

    Attributes
    ----------
    target : int or str
        What was explained: the class, or another target as text.
    seconds : float
        Wall-clock time of the attribution and its explanations.
    rows : dict
        The rows for each table of :data:`COLUMNS`.
    image : tuple, optional
        What all units of the image share: label, predicted class, confidence, and a picture of the model's input.
    """

    target: int | str
    seconds: float
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    image: tuple[int | None, int | None, float | None, bytes | None] | None = None


class Store:
    """The file that one process adds to.

    Parameters
    ----------
    path : Path or None
        The file, created if it does not exist; None keeps the records in memory.

    Raises
    ------
    StoreError
        If the file is something else, has another schema, or cannot be written.

    Examples
    --------
    >>> store = Store(None)
    >>> store.add(Unit("net", "cat", "lime", "zero"), Measured(281, 0.5, {"scores": [("deletion", None, 0.25)]}))
    >>> [(row["image"], row["score"], row["value"]) for row in store.read("scores")]
    [('cat', 'deletion', 0.25)]
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        with _told(path):
            self._file = _opened(path)

    def add(self, unit: Unit, measured: Measured) -> None:
        """Record a unit in one transaction; a unit that is already recorded is not changed.

        Raises
        ------
        StoreError
            If the disk is full or cannot be written to. Then this unit is not recorded; all others stay.
        """
        with _told(self.path), self._file:  # commits, or rolls back
            added = self._file.execute(
                "INSERT OR IGNORE INTO units VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (*unit, measured.target, measured.seconds),
            )
            if not added.rowcount:
                return
            for table, rows in measured.rows.items():
                places = ", ".join("?" * (1 + len(COLUMNS[table])))
                self._file.executemany(
                    f"INSERT INTO {table} VALUES ({places})", [(added.lastrowid, *row) for row in rows]
                )
            if measured.image is not None:
                self._file.execute(
                    "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?)", (unit.model, unit.image, *measured.image)
                )

    def units(self) -> set[Unit]:
        """The units that are recorded."""
        return {Unit(*row) for row in self._file.execute("SELECT model, image, method, masking FROM units")}

    def read(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table: one of :data:`COLUMNS`, with the columns of their units, or ``units`` or ``images``."""
        if table in COLUMNS:
            own = ", ".join(f"{table}.{name}" for name in COLUMNS[table])
            query = (
                f"SELECT model, image, method, masking, target, {own}, seconds FROM {table} JOIN units "
                f"ON units.id = {table}.unit ORDER BY {table}.rowid"
            )
        else:
            query = f"SELECT * FROM {table} ORDER BY rowid"
        found = self._file.execute(query)
        names = [column[0] for column in found.description]
        for row in found:
            yield {name: _nan(value, name) for name, value in zip(names, row)}

    def picture(self, unit: Unit, kind: str) -> bytes | None:
        """A unit's picture of this kind (``"map"``, ``"mask"``); None if it has none."""
        found = self._file.execute(
            "SELECT data FROM pictures JOIN units ON units.id = pictures.unit "
            "WHERE (model, image, method, masking) = (?, ?, ?, ?) AND kind = ?",
            (*unit, kind),
        ).fetchone()
        return None if found is None else bytes(found[0])

    def close(self) -> None:
        """Close the file, which merges the write-ahead log into it."""
        self._file.close()


def record_files(folder: Path) -> list[Path]:
    """The files of records in a folder."""
    return sorted(path for path in folder.glob("records-*.sqlite") if _NAME.fullmatch(path.name))


def record_file(folder: Path, number: int) -> Path:
    """The file of records of the process with this number."""
    return folder / f"records-{number}.sqlite"


def recorded(folder: Path) -> set[Unit]:
    """The units that are recorded in a folder."""
    found: set[Unit] = set()
    for path in record_files(folder):
        with closing(Store(path)) as store:
            found |= store.units()
    return found


def rows_of(folders: Sequence[Path], table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table in all files of the folders; a unit or image that is in several files is read once."""
    seen: dict[tuple[Any, ...], int] = {}
    for number, path in enumerate(path for folder in folders for path in record_files(folder)):
        with closing(Store(path)) as store:
            for row in store.read(table):
                key = tuple(row[name] for name in ("model", "image", "method", "masking") if name in row)
                if seen.setdefault(key, number) == number:
                    yield row


_NUMBERS = ("gamma", "size", "confidence", "rho", "confidence_planted", "level", "value")


def _nan(value: Any, name: str) -> Any:
    """NaN for NULL in numeric columns, because SQLite stores NaN as NULL."""
    return math.nan if value is None and name in _NUMBERS else value


def _opened(path: Path | None) -> sqlite3.Connection:
    file = sqlite3.connect(":memory:" if path is None else path, timeout=_WAIT)
    try:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        mark, version = (file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            file.executescript(f"BEGIN; {_TABLES} COMMIT;")
        elif mark != _MARK:
            raise StoreError(f"{str(path)!r} is not a file of a study's records: choose another folder")
        elif version != SCHEMA:
            raise StoreError(
                f"{str(path)!r} has records of schema {version}, but this version of captum_ad reads schema {SCHEMA}: "
                "use the version that wrote them (study.json names it), or start in another folder"
            )
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    """Context manager that turns SQLite's errors into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        if "full" in said or "disk I/O" in said:
            raise StoreError(
                f"cannot write {str(path)!r}: {said}. Existing records are safe: free some space, then run it again"
            ) from error
        if "not a database" in said or "malformed" in said:
            raise StoreError(f"{str(path)!r} is not a file of a study's records ({said}): move it away") from error
        raise StoreError(f"cannot use the records {str(path)!r}: {said}") from error
