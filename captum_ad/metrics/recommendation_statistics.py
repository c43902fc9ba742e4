"""Statistics of a recommendation: intervals of means over photographs, and tests whether one masking beats others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_ad._common.extras import needed
from captum_ad.metrics.statistics import Floats, _generator

if TYPE_CHECKING:
    import pandas as pd

LEAST = 6
"""Fewest photographs to name a winner: with fewer, no two-sided paired test can reach 5 percent."""

LEVEL = 0.05
"""Significance level of the tests; the level of intervals is one minus this."""

DECIMALS = 12
"""Decimals to round differences to, so that rounding errors do not break ties."""

_RESAMPLES = 9999


def bootstrapped(values: pd.Series[float], seed: int, key: dict[str, Any]) -> dict[str, float]:
    """The mean of values, and its percentile bootstrap interval.

    Parameters
    ----------
    values : Series
        One per photograph. They are sorted first, so that the order of photographs does not matter.
    seed : int
        Random seed of the bootstrap.
    key : dict
        Identifies the values. Each key has its own draws, which do not depend on other calls.

    Returns
    -------
    dict
        ``n``, ``mean``, ``low`` and ``high``. The last two are NaN for a single value, and the mean for equal values.
    """
    ordered: Floats = np.sort(np.asarray(values, dtype=np.float64)).round(DECIMALS)
    found = {"n": len(ordered), "mean": float(ordered.mean())}
    if len(ordered) < 2:
        return {**found, "low": np.nan, "high": np.nan}
    if ordered[0] == ordered[-1]:
        return {**found, "low": found["mean"], "high": found["mean"]}
    bootstrap = needed("scipy.stats", "scipy", "metrics").bootstrap
    options = {"n_resamples": _RESAMPLES, "confidence_level": 1 - LEVEL, "method": "percentile"}
    generator = _generator(seed, "recommendation", key)
    batch = max(1, 10_000_000 // len(ordered))
    low, high = bootstrap((ordered,), np.mean, batch=batch, rng=generator, **options).confidence_interval
    return {**found, "low": float(low), "high": float(high)}


def beaten(
    scores: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int, keys: Sequence[dict[str, Any]]
) -> list[bool]:
    """For each pair of maskings, whether the scores of the first are significantly higher than those of the second.

    The bootstrap interval of the mean difference must be above zero, and the p of a two-sided Wilcoxon signed-rank test
    below 5 percent after Holm's correction for all pairs. The interval alone would not be enough: if two maskings are
    equal on half of six photographs, it is above zero whenever the other half agree, which happens by chance one time
    in four.

    Parameters
    ----------
    scores : DataFrame
        A row per photograph, a column per masking.
    pairs : sequence of (str, str)
        The maskings to compare.
    seed : int
        Random seed of the bootstrap.
    keys : sequence of dict
        One per pair, as for :func:`bootstrapped`.

    Returns
    -------
    list of bool
        All False with fewer than :data:`LEAST` photographs.
    """
    if len(scores) < LEAST:
        return [False] * len(pairs)
    differences = [scores[one] - scores[other] for one, other in pairs]
    tested = holm([signed_rank(values) for values in differences])
    return [
        p < LEVEL and bootstrapped(values, seed, key)["low"] > 0 for p, values, key in zip(tested, differences, keys)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's correction.

    Examples
    --------
    >>> holm([0.02, 0.01, 0.5])
    [0.04, 0.03, 0.5]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, least = [1.0] * len(p), 0.0
    for place, i in enumerate(order):
        least = corrected[i] = min(1.0, max(least, (len(p) - place) * p[i]))
    return corrected


def signed_rank(differences: pd.Series[float]) -> float:
    """The exact two-sided p of Wilcoxon's signed-rank test, ignoring differences of zero.

    Equal differences share their mean rank. For such ties scipy only has a normal approximation or permutations; here,
    all assignments of signs are counted by adding up rank by rank.

    Examples
    --------
    >>> import pandas
    >>> signed_rank(pandas.Series([0.1] * 6)), signed_rank(pandas.Series([0.1, 0.2, 0.3, 0, 0, 0]))
    (0.03125, 0.25)
    """
    values: Floats = np.asarray(differences, dtype=np.float64).round(DECIMALS)
    values = values[values != 0]
    ranks = np.rint(2 * needed("scipy.stats", "scipy", "metrics").rankdata(abs(values))).astype(int)
    share = np.zeros(ranks.sum() + 1)  # fraction of sign assignments, by twice the sum of the positive ranks
    share[0] = 1
    for rank in ranks:
        share[rank:] = (share[rank:] + share[: len(share) - rank]) / 2
        share[:rank] /= 2
    positive = int(ranks[values > 0].sum())
    return min(1.0, 2 * float(min(share[: positive + 1].sum(), share[positive:].sum())))
