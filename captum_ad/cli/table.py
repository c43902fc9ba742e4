"""The table of a report: the measures of each method and masking, as means over photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from captum_ad.cli.explanations import EQUAL_SIZE

_RESAMPLES = 9999
_LEVEL = 0.05


def table_rows(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table's cells, the header first.

    Parameters
    ----------
    entries : sequence of mapping
        The summary's entries of the photographs.

    Returns
    -------
    list of list of str
        The first two columns are names. With several photographs, each number is a mean over those that have an
        explanation, with its 95 % bootstrap interval.
    """
    mean = "mean " if len(entries) > 1 else ""
    names = ["size", "confidence", "ρ", f"ρ at size {EQUAL_SIZE:g}", "seconds"]
    rows = [["method", "masking", *(mean + name for name in names), "left out"]]
    for method, columns in entries[0]["methods"].items():
        for column in columns:
            measured = [entry["methods"][method][column] for entry in entries]
            ours = [one["explanation"] for one in measured]
            found = [one for one in ours if one["found"] and not one["empty"]]
            cells = [_mean([one[name] for one in found]) for name in ("size", "confidence", "rho")]
            cells.append(_mean([one["rho_at_equal_size"] for one in ours]))
            cells.append(f"{sum(one['seconds'] for one in measured) / len(measured):.1f}")
            counts = {"not found": sum(not one["found"] for one in ours), "empty": sum(one["empty"] for one in ours)}
            rows.append(
                [method, column, *cells, ", ".join(f"{n} of {len(ours)} {what}" for what, n in counts.items() if n)]
            )
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def results_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The table as lines of text, with aligned columns."""
    rows = table_rows(entries)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    aligned = ([c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def legend(entries: Sequence[Mapping[str, Any]], gamma: float, colors: int) -> list[str]:
    """Explanations of the table's columns, one line each."""
    photographs = len(entries)
    explanations = [one["explanation"] for e in entries for row in e["methods"].values() for one in row.values()]
    lines = [
        f"size: share of the image that alone keeps the class, with at least {gamma:g} of its confidence",
        "confidence: confidence in the class with that part alone",
        f"ρ: share of {colors} solid colors on which that part still gets the class",
        f"ρ at size {EQUAL_SIZE:g}: ρ of the highest {EQUAL_SIZE:.0%} of each attribution; ρ grows with the size, "
        "so compare it at equal size",
    ]
    if not all(one["found"] for one in explanations):
        lines.append("not found: no part of the photograph alone keeps the class; counts only in ρ at equal size")
    if any(one["empty"] for one in explanations):
        lines.append("empty: the model gives the class even if nothing is shown; counts only in ρ at equal size")
    if photographs > 1:
        lines.append(
            f"Means over {photographs} photographs, with 95 % bootstrap intervals, which are too narrow for few."
        )
    return lines


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean, always the same for the same values.

    Examples
    --------
    >>> interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    generator = np.random.default_rng(0)
    means = [ordered[generator.integers(0, len(ordered), len(ordered))].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [_LEVEL / 2, 1 - _LEVEL / 2])
    return float(low), float(high)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = f"{sum(values) / len(values):.2f}"
    if len(values) == 1:
        return mean
    low, high = interval(values)
    return f"{mean} ({low:.2f} to {high:.2f})"
