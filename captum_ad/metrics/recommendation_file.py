"""The records of a recommendation, which an interrupted run is taken up from."""

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
    """Records of these settings that are there already, and those that are new; in a file if there is a path.

    Parameters
    ----------
    path : str or Path, optional
        Ends in .csv or .parquet.
    run : str
        Digest of the settings.

    Raises
    ------
    ValueError
        If the file has records of other settings, or there is no directory for it.
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
        """The rows of an image and masking, one of each test in that order; None if they are not all there, or damaged.

        Parameters
        ----------
        image, masking, digest : str
            Whose rows.
        tests : sequence of str
            What was tried.
        target : int, optional
            The class that they have to be of.
        """
        sound = [_sound(row, target) for row in self.cells.get((image, masking, digest), [])]
        found = {row["test"]: row for row in sound if row is not None}
        return [found[test] for test in tests] if len(sound) == len(tests) and set(found) == set(tests) else None

    def added(self, image: str, masking: str, digest: str, scores: Rows) -> Rows:
        """Rows made of these scores, which the next :meth:`write` writes."""
        rows = [{"image": image, "masking": masking, "run": self.run, "input": digest, **score} for score in scores]
        self.cells[image, masking, digest] = rows
        self.unwritten = True
        return rows

    def write(self, first: Rows | None = None) -> None:
        """Write if there is anything new, or in the end: what was asked for `first`, then what else the file had."""
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
            raise ValueError(f"there is no directory {str(self.path.parent)!r} for the records: make it first")
        known = read_records(self.path)
        if known is None:
            return []
        if set(COLUMNS) - set(known.columns):
            raise ValueError(
                f"{str(self.path)!r} holds no records of a recommendation: expected the columns {', '.join(COLUMNS)}, "
                f"got {', '.join(map(str, known.columns))}. Choose another file"
            )
        if set(known["run"]) - {self.run}:
            raise ValueError(
                f"{str(self.path)!r} has records of other settings or weights: choose another file, or delete it"
            )
        return cast("Rows", known[list(COLUMNS)].astype(dict.fromkeys(_TEXT, str)).to_dict("records"))


def _sound(row: dict[str, Any], target: int | None) -> dict[str, Any] | None:
    """A row with numbers where they belong, or None: people open such files in spreadsheets, and disks fill up."""
    kept = {"True": True, "False": False}.get(str(row["kept"]))
    try:
        confidence, index = float(row["confidence"]), float(row["target"])
    except (TypeError, ValueError):
        return None
    whole = math.isfinite(index) and index == int(index) >= 0 and (target is None or index == target)
    if kept is None or not math.isfinite(confidence) or not whole:
        return None
    return {**row, "kept": kept, "confidence": confidence, "target": int(index)}
