"""Statistics of noise records: consistency, responsiveness, their product, and tests over methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_ad._common.extras import needed
from captum_ad.metrics.noise import COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def noise_robustness(records: pd.DataFrame, by: Sequence[str] = ("method", "noise", "level")) -> pd.DataFrame:
    """Consistency, responsiveness and robustness of attributions under noise.

    From *Assessing the Noise Robustness of Class Activation Maps* (2025, arXiv 2508.18154): robustness is the product.
    Our reading: *consistency* is the mean similarity over samples whose class noise does not change, *responsiveness*
    is 1 minus the mean similarity over samples whose class changes. Higher is better for all three.

    Parameters
    ----------
    records : DataFrame
        Records from :func:`noise_study`.
    by : sequence of str
        Columns to group by.

    Returns
    -------
    DataFrame
        A row per group, with `by`, ``consistency``, ``responsiveness``, ``robustness``, and numbers of samples:
        ``kept``, ``changed``, and ``undefined``, whose similarity is NaN and which are not used. If no class changed,
        responsiveness and robustness are NaN, not zero.

    Raises
    ------
    ValueError
        If records are empty or a column is missing.
    """
    pandas = needed("pandas", "pandas", "metrics")
    rows = []
    for key, group in _checked(records, by).groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key if isinstance(key, tuple) else (key,)))
        known = group[group["similarity"].notna()]
        kept, changed = (known[known["class_kept"] == value]["similarity"] for value in (True, False))
        consistency, responsiveness = kept.mean(), 1 - changed.mean()
        row |= {"consistency": consistency, "responsiveness": responsiveness}
        row |= {"robustness": consistency * responsiveness, "kept": len(kept), "changed": len(changed)}
        rows.append({**row, "undefined": len(group) - len(known)})
    found: pd.DataFrame = pandas.DataFrame(rows)
    return found


@dataclass(frozen=True)
class Friedman:
    """Results of tests for differences between methods.

    Attributes
    ----------
    statistic, p : float
        Result of Friedman's test; NaN if all values are equal.
    n : int
        Number of images, the blocks of the test.
    ranks : DataFrame
        A row per method: ``method``, its mean ``rank``, 1 for the most consistent, and its ``mean``.
    pairs : DataFrame
        A row per pair of methods: ``one``, ``other``, the difference of their mean ``ranks``, and Nemenyi's ``p``,
        which is adjusted for testing all pairs.
    """

    statistic: float
    p: float
    n: int
    ranks: pd.DataFrame
    pairs: pd.DataFrame


def noise_significance(records: pd.DataFrame, *, class_kept: bool = True) -> Friedman:
    """Friedman's test over methods, and Nemenyi's test of all pairs (Demšar 2006, JMLR).

    Parameters
    ----------
    records : DataFrame
        Records from :func:`noise_study`, of at least three methods.
    class_kept : bool
        True tests consistency, over samples whose class noise did not change; False tests responsiveness, over the
        others.

    Returns
    -------
    Friedman
        Each image is a block, with its mean similarity over noises and levels. Images without such a sample, or with
        one that is NaN for any method, are left out.

    Raises
    ------
    ValueError
        If there are fewer than three methods, or fewer than two images are left.
    """
    pandas, stats = needed("pandas", "pandas", "metrics"), needed("scipy.stats", "scipy", "metrics")
    wanted = _checked(records, ())
    wanted = wanted[wanted["class_kept"] == class_kept]
    wide = wanted.pivot_table(
        index="image",
        columns="method",
        values="similarity",
        aggfunc=lambda values: values.mean(skipna=False),
        dropna=False,
    )
    wide = wide.reindex(columns=list(dict.fromkeys(records["method"]))).dropna()
    if not class_kept:
        wide = 1 - wide
    methods, n = list(wide.columns), len(wide)
    if len(methods) < 3 or n < 2:
        raise ValueError(
            f"Friedman's test needs at least three methods and two images, got {len(methods)} methods and {n} images: "
            "for two methods use a signed-rank test, scipy.stats.wilcoxon"
        )
    values = wide.to_numpy(dtype=np.float64).round(12)
    ranks = stats.rankdata(-values, axis=1).mean(0)
    equal = bool((values == values[:, :1]).all())
    tested = (np.nan, np.nan) if equal else stats.friedmanchisquare(*values.T)
    error = (len(methods) * (len(methods) + 1) / (6 * n)) ** 0.5
    pairs = []
    for i, one in enumerate(methods):
        for j, other in enumerate(methods[i + 1 :], start=i + 1):
            apart = float(ranks[i] - ranks[j])
            p = float(stats.studentized_range.sf(abs(apart) / error * 2**0.5, len(methods), np.inf))
            pairs.append({"one": one, "other": other, "ranks": apart, "p": p})
    table = {"method": methods, "rank": ranks, "mean": wide.mean().to_numpy()}
    return Friedman(float(tested[0]), float(tested[1]), n, pandas.DataFrame(table), pandas.DataFrame(pairs))


def _checked(records: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in (*COLUMNS, *by) if name not in records.columns]
    if missing:
        raise ValueError(f"the noise records have no column {missing[0]!r}: use records from noise_study")
    if records.empty:
        raise ValueError("the noise records are empty, expected at least one row")
    return records
