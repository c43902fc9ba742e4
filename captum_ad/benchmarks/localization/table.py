"""The table of the grid pointing game, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from captum_ad.benchmarks.scenes.estimates import PerScene, estimate
from captum_ad.metrics.recommendation_text import interval, number
from captum_ad.metrics.statistics import is_ad

if TYPE_CHECKING:
    import pandas as pd

_RESAMPLES = 9999


def markdown(records: pd.DataFrame, seed: int = 0) -> str:
    """A table of the mean shares, with 95 % bootstrap intervals over the explained photographs.

    The bootstrap draws photographs: all collages in which a photograph is explained are drawn together, because they
    are not independent.

    Parameters
    ----------
    records : DataFrame
        As returned by :func:`localize`.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    str
        One row per method and masking: the mean share, and its difference, paired by collage, from the method's best
        baseline, which has the highest mean on these collages. With a single photograph there are no intervals.
    """
    lines = ["| method | masking | share in the cell | against the best paint |", "|---|---|---|---|"]
    photographs = records.drop_duplicates("collage").set_index("collage")["photograph"]
    for method in dict.fromkeys(records["method"]):
        values = records[records["method"] == method].pivot(index="collage", columns="masking", values="share")
        values = values[list(dict.fromkeys(records["masking"]))]
        painted = [name for name in values.columns if not is_ad(name)]
        best = str(values[painted].mean().idxmax()) if painted else None
        for name in values.columns:
            cell = _estimated(values[name], photographs, seed)
            against = "best" if name == best else ""
            if best is not None and name != best:
                against = _estimated(values[name] - values[best], photographs, seed, signed=True)
            lines.append(f"| {method} | {name} | {cell} | {against} |")
    return "\n".join(lines)


def _estimated(values: pd.Series[float], photographs: pd.Series[int], seed: int, *, signed: bool = False) -> str:
    """The mean over collages, and its interval over their photographs if there are at least two."""
    of_each = values.groupby(photographs.loc[values.index])
    if len(of_each) < 2:
        return number(values.mean(), signed=signed)
    clusters = PerScene(np.asarray(of_each.sum(), np.float64), np.asarray(of_each.count(), np.float64))
    found = estimate(clusters, seed=seed, n_resamples=_RESAMPLES)
    return number(found.value, signed=signed) + interval(found.low, found.high, signed=signed)
