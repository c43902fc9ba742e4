"""Tables in files, written atomically and read back exactly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captum_ad._common.extras import needed

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet")


def read_records(path: Path) -> pd.DataFrame | None:
    """The records in a file, or None if the file does not exist.

    Parameters
    ----------
    path : Path
        A file name that ends in .csv or .parquet.

    Raises
    ------
    ValueError
        If the name has another ending, or the file is not a table.
    """
    pandas = needed("pandas", "pandas", "metrics")
    if path.suffix not in FORMATS:
        raise ValueError(f"the file of records must end in {' or '.join(FORMATS)}, got {str(path)!r}")
    if path.suffix == ".parquet":
        needed("pyarrow", "pyarrow", "metrics")
    if not path.exists():
        return None
    text = {"image": str, "method": str, "masking": str, "backgrounds": str, "run": str, "input": str}
    try:
        if path.suffix == ".csv":
            found: pd.DataFrame = pandas.read_csv(
                path, dtype=text, float_precision="round_trip", keep_default_na=False, na_values=[""]
            )
        else:
            found = pandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(path)!r} is not a table of records: {error}") from error
    return found


def write_records(records: pd.DataFrame, path: Path) -> None:
    """Replace a file by these records, atomically.

    Parameters
    ----------
    records : pandas.DataFrame
        Tidy records.
    path : Path
        A file name that ends in .csv or .parquet, in an existing directory.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        if path.suffix == ".csv":
            records.to_csv(name, index=False)
        else:
            records.to_parquet(name, index=False)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def known_records(path: Path | None, run: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """The records that a file already has, or None.

    Raises
    ------
    ValueError
        If they are of other settings, or the directory does not exist.
    """
    if path is None:
        return None
    if not path.parent.is_dir():
        raise ValueError(f"the directory {str(path.parent)!r} for the records does not exist: create it first")
    known = read_records(path)
    if known is None:
        return None
    if set(columns) - set(known.columns) or set(known["run"]) != {run}:
        raise ValueError(
            f"{str(path)!r} has records of other settings, backgrounds or weights: choose another file, or delete it"
        )
    return known


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
