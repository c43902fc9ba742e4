"""The table of a study, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from captum_ad.benchmarks.scenes.estimates import Estimate, estimate, mean_of
from captum_ad.metrics.recommendation_text import interval, number
from captum_ad.metrics.statistics import is_ad

if TYPE_CHECKING:
    import pandas as pd

_RESAMPLES = 9999


def markdown(
    records: pd.DataFrame,
    *,
    compared: tuple[str, ...] = (),
    lower_is_better: bool = False,
    product: tuple[str, str, str] | None = None,
    seed: int = 0,
) -> str:
    """One row per method and masking, one column per quantity: means over photographs, 95 % bootstrap intervals.

    Parameters
    ----------
    records : DataFrame
        As returned by :func:`measure`; NaN counts as missing.
    compared : tuple of str
        Quantities for which the mean paired difference from the method's best baseline is shown too. The best one is
        chosen on the same photographs, which favors it.
    lower_is_better : bool
        Whether lower values of these are better.
    product : (str, str, str), optional
        Two quantities, and the name of the product of their means.
    seed : int
        Seed of the bootstrap.
    """
    quantities = list(dict.fromkeys(records["quantity"]))
    heads = [head for one in quantities for head in ([one, "against the best paint"] if one in compared else [one])]
    heads += [] if product is None else [product[2]]
    lines = ["| " + " | ".join(["method", "masking", *heads]) + " |", "|---" * (len(heads) + 2) + "|"]
    for method in dict.fromkeys(records["method"]):
        rows = records[records["method"] == method]
        names = list(dict.fromkeys(rows["masking"]))
        cells: dict[str, list[str]] = {name: [] for name in names}
        for quantity in quantities:
            wide = rows[rows["quantity"] == quantity].pivot(index="photograph", columns="masking", values="value")
            wide = wide.reindex(columns=names)
            best = _best(wide, lower_is_better) if quantity in compared else None
            for name in names:
                cells[name].append(_shown(wide[name], seed))
                if quantity in compared:
                    difference = "" if best is None or best == name else _shown(wide[name] - wide[best], seed, True)
                    cells[name].append("best" if name == best else difference)
        for name in names if product else []:
            cells[name].append(_multiplied(rows[rows["masking"] == name], cast("tuple[str, str, str]", product), seed))
        lines += ["| " + " | ".join([method, name, *cells[name]]) + " |" for name in names]
    return "\n".join(lines)


def _best(wide: pd.DataFrame, lower_is_better: bool) -> str | None:
    painted = [name for name in wide.columns if not is_ad(str(name)) and wide[name].notna().any()]
    if not painted or len(wide.columns) < 2:
        return None
    means = wide[painted].mean()
    return str(means.idxmin() if lower_is_better else means.idxmax())


def _shown(values: pd.Series[float], seed: int, signed: bool = False) -> str:
    """The mean and its interval, with the number of values if some are missing."""
    known = np.asarray(values.dropna(), dtype=np.float64)
    if not len(known):
        return "–"
    found: Estimate = estimate(mean_of(known), seed=seed, n_resamples=_RESAMPLES)
    counted = f" [{len(known)}]" if len(known) < len(values) else ""
    return number(found.value, signed=signed) + interval(found.low, found.high, signed=signed) + counted


def _multiplied(rows: pd.DataFrame, product: tuple[str, str, str], seed: int) -> str:
    """The product of two means over photographs, and its bootstrap interval over photographs."""
    wide = rows.pivot(index="photograph", columns="quantity", values="value").reindex(columns=list(product[:2]))
    values = wide.to_numpy(dtype=np.float64)
    if not (~np.isnan(values)).any(0).all():
        return "–"
    draws = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), _RESAMPLES)
    counts = np.concatenate([np.ones((1, len(values))), draws])
    below = counts @ ~np.isnan(values)
    means = np.divide(counts @ np.nan_to_num(values), below, out=np.full(below.shape, np.nan), where=below > 0)
    found = means.prod(1)
    low, high = np.nanquantile(found[1:], [0.025, 0.975]) if len(values) > 1 else (np.nan, np.nan)
    return number(found[0]) + interval(low, high)
