"""Results of a study as tables, from the records in one or several folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_ad._common.extras import needed
from captum_ad.study.manifest import Manifest, read_manifest
from captum_ad.study.store import StoreError, rows_of
from captum_ad.study.units import Unit

if TYPE_CHECKING:
    import pandas as pd

EXPLANATIONS = (
    "model image method masking target gamma backgrounds found size confidence rho confidence_planted n_backgrounds "
    "excluded seconds"
).split()
"""The columns of the explanations; see :mod:`captum_ad.metrics.statistics`."""

SCORES = "model image method masking target score level value seconds".split()


def frame(rows: Iterable[Mapping[str, Any]], units: Sequence[Unit], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table, in the order of their units."""
    pandas = needed("pandas", "pandas", "metrics")
    place = {unit: number for number, unit in enumerate(units)}
    keyed = [(place[unit], tuple(row[name] for name in columns)) for row in rows if (unit := _unit_of(row)) in place]
    keyed.sort(key=lambda pair: pair[0])  # stable: a unit's rows stay in order
    table: pd.DataFrame = pandas.DataFrame([row for _, row in keyed], columns=list(columns))
    if "found" in table:
        table["found"] = table["found"].astype(bool)
    return table


def read_explanations(folders: Sequence[Path], units: Sequence[Unit]) -> pd.DataFrame:
    """One row per unit, set of backgrounds, and threshold or equal size."""
    return frame(rows_of(folders, "explanations"), units, EXPLANATIONS)


def read_scores(folders: Sequence[Path], units: Sequence[Unit]) -> pd.DataFrame:
    """One row per unit and score, and per level if a score has several."""
    return frame(rows_of(folders, "scores"), units, SCORES)


def merged_manifest(folders: Sequence[Path]) -> Manifest:
    """The manifest of all folders together.

    Raises
    ------
    StoreError
        If a folder has no results, or two are of different configurations.
    """
    found: Manifest | None = None
    for folder in folders:
        one = read_manifest(folder)
        if one is None:
            raise StoreError(f"{str(folder)!r} has no results of a study: give the --out folder of a study")
        if found is not None:
            different = found.differences(one)
            if different:
                raise StoreError(
                    f"{str(folder)!r} has another configuration than {str(folders[0])!r}: {'; '.join(different)}"
                )
        found = one if found is None else found.grown(one)
    if found is None:
        raise StoreError("give at least one folder of results")
    return found


def _unit_of(row: Mapping[str, Any]) -> Unit:
    return Unit(row["model"], row["image"], row["method"], row["masking"])
