"""The tables of a study: the paper's, and those of judges that the paper does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from captum_ad._common.extras import needed
from captum_ad.metrics.statistics import is_ad, significance, summarize

if TYPE_CHECKING:
    import pandas as pd

_KEY = ["model", "method", "masking"]


def summary(explanations: pd.DataFrame) -> pd.DataFrame:
    """:func:`captum_ad.metrics.summarize` for every model: means and standard errors of all measures."""
    return _by_model(explanations, summarize)


def score_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over images of each judge's score, at each of its levels.

    Returns
    -------
    DataFrame
        ``model``, ``method`` (empty if the masking itself is judged), ``masking``, ``score``, ``level``, and
        ``mean``, ``sem`` and ``n`` over the images that have a value.
    """
    grouped = scores.groupby([*_KEY, "score", "level"], sort=False, dropna=False)["value"]
    return grouped.agg(["mean", "sem", "count"]).rename(columns={"count": "n"}).reset_index()


def accuracy(images: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The accuracy of each model: number of labeled images, share answered with the label (the paper's Table E)."""
    pandas = needed("pandas", "pandas", "metrics")
    table = pandas.DataFrame(list(images), columns=["model", "image", "label", "predicted", "confidence"])
    known = table[table["label"].notna() & table["predicted"].notna()]
    known = known.assign(accuracy=(known["label"] == known["predicted"]).astype(float))
    found = known.groupby("model", sort=False).agg(
        images=("image", "count"), accuracy=("accuracy", "mean"), confidence=("confidence", "mean")
    )
    return cast("pd.DataFrame", found.reset_index())


def over_gamma(whole: pd.DataFrame, value: str, *, per_context: bool) -> pd.DataFrame:
    """Means, with one column per γ: sizes (the paper's Tables F), confidences (G), ρ (Figures 5, 6, A1, A2).

    Parameters
    ----------
    whole : DataFrame
        As returned by :func:`summary`.
    value : str
        ``"size"``, ``"confidence"``, ``"rho"`` or ``"confidence_planted"``.
    per_context : bool
        Whether the value differs between contexts; then each context has its own row.
    """
    rows = whole[whole["gamma"].notna()]
    return _pivoted(rows, rows["gamma"], "γ {:g}", value, per_context=per_context)


def at_equal_size(whole: pd.DataFrame) -> pd.DataFrame:
    """Mean ρ with one column per equal size, for a fair comparison: larger explanations are more robust."""
    rows = whole[whole["gamma"].isna()]
    return _pivoted(rows, rows["size_mean"], "size {:g}", "rho", per_context=True)


def size_differences(explanations: pd.DataFrame) -> pd.DataFrame:
    """Mean size under each AD rule minus that under the best (smallest) baseline, by γ (the paper's Table 1).

    Returns
    -------
    DataFrame
        The rows of :func:`captum_ad.metrics.significance` for the best baseline among those with explanations that
        are not empty. No rows if there is no AD rule or no baseline.
    """
    rows = explanations[explanations["gamma"].notna() & explanations["found"] & (explanations["size"] > 0)]
    rows = rows[rows["backgrounds"] == rows["backgrounds"].iloc[0]] if len(rows) else rows
    found = compared(rows, "size", higher_is_better=False)
    return found[found["is_best"]].drop(columns=["is_best", "size", "backgrounds"]) if len(found) else found


def compared(explanations: pd.DataFrame, value: str = "rho", *, higher_is_better: bool = True) -> pd.DataFrame:
    """:func:`captum_ad.metrics.significance` for every model: paired by image, Holm's correction within a model."""
    both = explanations.groupby("model")["masking"].transform(lambda names: len({is_ad(name) for name in names}) == 2)
    rows = explanations[both.astype(bool)]
    if rows.empty:
        return rows
    return _by_model(rows, lambda some: significance(some, value, higher_is_better=higher_is_better))


def judged(scores: pd.DataFrame) -> pd.DataFrame:
    """Means of the judges' scores, a column each: insertion, deletion, missingness (over its shares), localization."""
    if scores.empty:
        return scores
    per_image = scores.groupby([*_KEY, "image", "score"], sort=False)["value"].mean().reset_index()
    table = per_image.pivot_table(index=_KEY, columns="score", values="value", aggfunc="mean", sort=False)
    table.columns.name = None
    return table.reset_index()


def all_tables(
    explanations: pd.DataFrame, scores: pd.DataFrame, images: Sequence[Mapping[str, object]]
) -> dict[str, pd.DataFrame]:
    """Every table by its title, without empty ones."""
    whole = summary(explanations)
    tables = {
        "Accuracy": accuracy(images),
        "Mean size by γ": over_gamma(whole, "size", per_context=False),
        "Size against the best baseline": size_differences(explanations),
        "ρ by γ": over_gamma(whole, "rho", per_context=True),
        "ρ at equal size": at_equal_size(whole),
        "ρ, AD against each baseline": compared(explanations),
        "Confidence by γ": over_gamma(whole, "confidence", per_context=False),
        "Confidence on backgrounds by γ": over_gamma(whole, "confidence_planted", per_context=True),
        "Judges": judged(scores),
    }
    return {title: table for title, table in tables.items() if len(table)}


def _pivoted(
    rows: pd.DataFrame, levels: pd.Series[float], title: str, value: str, *, per_context: bool
) -> pd.DataFrame:
    index = [*_KEY, "backgrounds"] if per_context else _KEY
    named = rows.assign(level=[title.format(level) for level in levels])
    table = named.pivot_table(index=index, columns="level", values=f"{value}_mean", aggfunc="first", sort=False)
    columns = [title.format(level) for level in sorted(set(levels))]
    table = table.reindex(columns=[name for name in columns if name in table])
    table.columns.name = None
    return table.reset_index()


def _by_model(rows: pd.DataFrame, made: object) -> pd.DataFrame:
    pandas = needed("pandas", "pandas", "metrics")
    assert callable(made)
    parts = []
    for model, group in rows.groupby("model", sort=False):
        part = made(group)
        part.insert(0, "model", model)
        parts.append(part)
    return cast("pd.DataFrame", pandas.concat(parts, ignore_index=True).replace({None: np.nan}))
