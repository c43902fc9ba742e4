"""The records of a recommendation, from which an interrupted run can resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from captum_ad._common.extras import needed
from captum_ad.metrics.records import read_records, write_records

COLUMNS = ("image", "target", "masking", "test", "kept", "confidence", "run", "input")
"""The columns of the records."""

Rows = list[dict[str, Any]]

_TEXT = ("image", "masking", "test", "run", "input")


class Known:
    """Existing and new records of a run, in a file if there is a path.

    Parameters
    ----------
    path : str or Path, optional
        A file name that ends in .csv or .parquet.
    run : str
        Digest of the settings and weights.

    Raises
    ------
    ValueError
        If the file has records of other settings, or its directory does not exist.
    """

    def __init__(self, path: str | Path | None, run: str) -> None:
        self.path, self.run = None if path is None else Path(path), run
        self.cells: dict[tuple[str, str, str], Rows] = {}
        self.unwritten = False
        for row in self._read():
            self.cells.setdefault((row["image"], row["masking"], row["input"]), []).append(row)

    def known(
        self, image: str, masking: str, digest: str, tests: Sequence[str], target: int | None = None
    ) -> Rows | None:
        """The rows of an image and masking, one per test in order; None if any is missing or damaged.

        Parameters
        ----------
        image, masking, digest : str
            Which rows.
        tests : sequence of str
            Names of the tests.
        target : int, optional
            The class that the rows must have.
        """
        sound = [_sound(row, target) for row in self.cells.get((image, masking, digest), [])]
        found = {row["test"]: row for row in sound if row is not None}
        return [found[test] for test in tests] if len(sound) == len(tests) and set(found) == set(tests) else None

    def added(self, image: str, masking: str, digest: str, scores: Rows) -> Rows:
        """Create rows from these scores. The next :meth:`write` writes them."""
        rows = [{"image": image, "masking": masking, "run": self.run, "input": digest, **score} for score in scores]
        self.cells[image, masking, digest] = rows
        self.unwritten = True
        return rows

    def write(self, first: Rows | None = None) -> None:
        """Write the file if there are new rows, or at the end with `first`, which come before its other rows."""
        if self.path is None or not (self.unwritten or first):
            return
        rows = list(first or [])
        asked = {(row["image"], row["masking"], row["input"]) for row in rows}
        rows += [row for key, cell in self.cells.items() if key not in asked for row in cell]
        pandas = needed("pandas", "pandas", "metrics")
        write_records(pandas.DataFrame(rows, columns=list(COLUMNS)), self.path)
        self.unwritten = False

    def _read(self) -> Rows:
        if self.path is None:
            return []
        if not self.path.parent.is_dir():
            raise ValueError(f"the directory {str(self.path.parent)!r} for the records does not exist: create it first")
        known = read_records(self.path)
        if known is None:
            return []
        if set(COLUMNS) - set(known.columns):
            raise ValueError(
                f"{str(self.path)!r} has no records of a recommendation, expected the columns {', '.join(COLUMNS)}, "
                f"got {', '.join(map(str, known.columns))}: choose another file"
            )
        if set(known["run"]) - {self.run}:
            raise ValueError(
                f"{str(self.path)!r} has records of other settings or weights: choose another file, or delete it"
            )
        return cast("Rows", known[list(COLUMNS)].astype(dict.fromkeys(_TEXT, str)).to_dict("records"))


def _sound(row: dict[str, Any], target: int | None) -> dict[str, Any] | None:
    """A row with valid numbers, or None if it is damaged, e.g. by a spreadsheet or a full disk."""
    kept = {"True": True, "False": False}.get(str(row["kept"]))
    try:
        confidence, index = float(row["confidence"]), float(row["target"])
    except (TypeError, ValueError):
        return None
    whole = math.isfinite(index) and index == int(index) >= 0 and (target is None or index == target)
    if kept is None or not math.isfinite(confidence) or not whole:
        return None
    return {**row, "kept": kept, "confidence": confidence, "target": int(index)}
