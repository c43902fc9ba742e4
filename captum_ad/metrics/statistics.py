"""Summaries and paired tests of explanations: Activation-Deactivation against baselines, image by image.

Everything here reads `records`, a tidy table with one row per explanation and the columns
:data:`COLUMNS`; others are ignored. There are two kinds of rows:

- An explanation at a confidence threshold has that threshold in ``gamma``.
- One at a given size, equal for all maskings, has NaN in ``gamma`` and exactly that number in ``size``.

A masking with a name like ``"ad:PRESET"`` is Activation-Deactivation; any other is a baseline. If ``found`` is False,
there is no explanation, and the row's values are not used; nor are they if the explanation at a threshold is empty
(size 0), because the model predicts the class even with everything hidden.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

VALUES = ("size", "confidence", "rho", "confidence_planted", "seconds")
"""The columns of records that can be averaged and compared."""

COLUMNS = ("image", "method", "masking", "target", "gamma", "backgrounds", "found", *VALUES)
"""The columns that records must have."""

_NAMES = ["image", "method", "masking", "backgrounds"]
_LEVEL = ["gamma", "equal_size"]
_DECIMALS = 12  # round differences to this, so that rounding errors do not break ties between ranks


def is_ad(masking: str) -> bool:
    """Whether a masking of that name is Activation-Deactivation rather than a baseline.

    Examples
    --------
    >>> is_ad("ad:paper"), is_ad("avg")
    (True, False)
    """
    return masking.startswith("ad:")


def summarize(records: pd.DataFrame) -> pd.DataFrame:
    """Means and standard errors per method, masking, backgrounds and level.

    Parameters
    ----------
    records : DataFrame
        One row per explanation, see :mod:`captum_ad.metrics.statistics`.

    Returns
    -------
    DataFrame
        One row per method, masking, backgrounds and level, in the order in which these first appear:

        - ``method``, ``masking``, ``backgrounds``: str.
        - ``gamma``: float, NaN for rows at an equal size; ``size_mean`` is their level.
        - ``n``: int, the number of images.
        - ``found``, ``empty``: float, the fraction of the images with an explanation, and with an empty one.
        - ``NAME_mean`` and ``NAME_sem`` for each NAME in :data:`VALUES`: float, over the images with an
          explanation that is not empty. The standard error has ddof=1, and is NaN for a single image.

    Raises
    ------
    ValueError
        If records are empty, a column is missing or has invalid values, or an image
        has two rows with the same method, masking, backgrounds and level.
    ImportError
        If pandas is missing.
    """
    pandas = needed("pandas", "pandas", "metrics")
    rows = []
    for key, group in _checked(records).groupby(
        ["method", "masking", "backgrounds", *_LEVEL], sort=False, dropna=False
    ):
        method, masking, backgrounds, gamma, equal_size = cast("tuple[str, str, str, float, float]", key)
        row: dict[str, Any] = {"method": method, "masking": masking, "backgrounds": backgrounds, "gamma": gamma}
        row |= {"n": len(group), "found": group["found"].mean(), "empty": group["empty"].mean()}
        explained = group[group["found"] & ~group["empty"]]
        for name in VALUES:
            row[f"{name}_mean"] = explained[name].mean()
            row[f"{name}_sem"] = explained[name].sem()
        if np.isnan(gamma):  # the size is given; averaging might round, or have nothing to average
            row["size_mean"] = equal_size
            row["size_sem"] = 0.0 if len(explained) > 1 else np.nan
        rows.append(row)
    return cast("pd.DataFrame", pandas.DataFrame(rows))


def significance(
    records: pd.DataFrame,
    value: str = "rho",
    *,
    higher_is_better: bool = True,
    seed: int = 0,
    n_resamples: int = 9999,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Compare each Activation-Deactivation masking with each baseline, paired by image.

    Parameters
    ----------
    records : DataFrame
        One row per explanation, see :mod:`captum_ad.metrics.statistics`.
    value : {"rho", "size", "confidence", "confidence_planted", "seconds"}
        What to compare. ``"size"`` leaves out rows at an equal size, whose differences are all 0.
    higher_is_better : bool
        How to choose the best baseline. Pass False for ``"size"`` or ``"seconds"``.
    seed : int
        Random seed of the bootstrap, at least 0. Every row has its own generator, which depends on the seed and
        on what the row compares, so that its interval does not depend on other rows.
    n_resamples : int
        Number of bootstrap resamples, at least 1.
    confidence_level : float
        Level of the bootstrap interval, between 0 and 1.

    Returns
    -------
    DataFrame
        One row per method, backgrounds, level, Activation-Deactivation masking and baseline, in the order
        in which these first appear; a masking without any row at a level is not compared there.

        - ``method``, ``backgrounds``: str.
        - ``gamma``, ``size``: float, the level; the other one of the two is NaN.
        - ``ad``, ``baseline``: str, the two maskings.
        - ``is_best``: bool, whether this baseline has the best mean of `value` among the baselines of
          its method, backgrounds and level, over the images for which all of these have a value. In a tie, the
          first; without such an image, none. The choice uses the same data as the test, which favors this
          baseline, so report the other baselines too.
        - ``n``: int, the number of images for which both have a value; others are dropped. With n < 2, all
          columns below are NaN.
        - ``difference``: float, the mean of Activation-Deactivation minus baseline.
        - ``ci_low``, ``ci_high``: float, the percentile bootstrap interval of that mean; images are
          drawn, so pairs stay together. (BCa is undefined for some differences with many ties.)
        - ``p``: float, of the two-sided Wilcoxon signed-rank test. Differences of 0 are ranked with
          the others, then left out of both sums (Pratt's method); p is 1 if all of them are 0.
          Differences are first rounded to 12 decimals, so that rounding errors do not break ties.
        - ``p_holm``: float, p after Holm's correction for all rows of this table that have one.

    Raises
    ------
    UnknownNameError
        If `value` is not in :data:`VALUES`.
    ValueError
        As in :func:`summarize`, or if there is no Activation-Deactivation or no baseline to
        compare, or if `seed`, `n_resamples` or `confidence_level` is out of range.
    ImportError
        If pandas, scipy or statsmodels is missing.
    """
    pandas = needed("pandas", "pandas", "metrics")
    _check_options(value, seed, n_resamples, confidence_level)
    checked = _checked(records)
    _check_sides(checked["masking"])
    if value == "size":
        checked = checked[checked["gamma"].notna()]
    rows: list[dict[str, Any]] = []
    for key, group in checked.groupby(["method", "backgrounds", *_LEVEL], sort=False, dropna=False):
        maskings = list(group["masking"].unique())
        baselines = [masking for masking in maskings if not is_ad(masking)]
        explained = group.assign(value=group[value].where(group["found"] & ~group["empty"]))
        paired = explained.pivot(index="image", columns="masking", values="value")
        best = _best(paired[baselines], higher_is_better)
        for ad in filter(is_ad, maskings):
            for baseline in baselines:
                differences = (paired[ad] - paired[baseline]).dropna().round(_DECIMALS).to_numpy()
                row = {**dict(zip(["method", "backgrounds", "gamma", "size"], key)), "ad": ad, "baseline": baseline}
                compared = _compared(differences, _generator(seed, value, row), n_resamples, confidence_level)
                rows.append({**row, "is_best": baseline == best, **compared})
    if not rows:
        raise ValueError(
            f"no method, backgrounds and {'gamma' if value == 'size' else 'level'} has both AD and a baseline "
            f"to compare by {value!r}: explain the same images by the same method with both"
        )
    table = cast("pd.DataFrame", pandas.DataFrame(rows))
    table["p_holm"] = _holm(table["p"].to_numpy())
    return table


def _checked(records: pd.DataFrame) -> pd.DataFrame:
    """The needed columns, converted to bool and float, and ``equal_size``, which is NaN if there is a gamma."""
    if missing := [name for name in COLUMNS if name not in records.columns]:
        raise ValueError(
            f"records lack {', '.join(missing)}: expected the columns {', '.join(COLUMNS)}, "
            f"got {', '.join(map(str, records.columns)) or 'none'}; add them, with NaN for what was not measured"
        )
    if records.empty:
        raise ValueError("records have no rows, expected one per explanation: check how they were filtered")
    checked = records[list(COLUMNS)].copy()
    for name in _NAMES:
        if others := [given for given in checked[name] if not isinstance(given, str)]:
            raise ValueError(f"records: expected only str in {name!r}, got {others[0]!r}; convert the column with str")
        checked[name] = checked[name].astype(str)  # pandas 2 groups a categorical by categories without rows too
    if not checked["found"].isin([True, False]).all():
        raise ValueError(
            f"records: expected only True and False in 'found', got {list(checked['found'].unique()[:5])}; "
            "set it to whether there is an explanation"
        )
    checked["found"] = checked["found"].astype(bool)
    for name in ["gamma", *VALUES]:
        try:
            checked[name] = checked[name].astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"records: expected numbers or NaN in {name!r}: {error}; convert the column") from error
    checked["empty"] = checked["found"] & checked["gamma"].notna() & (checked["size"] == 0)
    checked["equal_size"] = checked["size"].where(checked["gamma"].isna())
    _refuse(
        checked[checked[_LEVEL].isna().all(axis=1)],
        "expected a gamma, or for rows at an equal size a size, got neither",
        "give them their level, or leave them out",
    )
    _refuse(
        checked[checked.duplicated([*_NAMES, *_LEVEL])],
        "expected one row per image, method, masking, backgrounds and level, got repetitions",
        "drop them, or give each run backgrounds of its own name",
    )
    return checked


def _refuse(rows: pd.DataFrame, problem: str, remedy: str) -> None:
    if not rows.empty:
        first = ", ".join(f"{name}={given!r}" for name, given in rows[[*_NAMES, "gamma", "size"]].iloc[0].items())
        raise ValueError(f"records: {problem} in {len(rows)} rows, first {first}; {remedy}")


def _check_options(value: str, seed: int, n_resamples: int, confidence_level: float) -> None:
    if value not in VALUES:
        raise UnknownNameError("value", value, VALUES)
    for name, number, least in (("seed", seed, 0), ("n_resamples", n_resamples, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1, got {confidence_level!r}: 0.95 means 95 %")


def _check_sides(maskings: pd.Series[str]) -> None:
    known = list(maskings.unique())
    for side, there in (("Activation-Deactivation", any(map(is_ad, known))), ("baseline", not all(map(is_ad, known)))):
        if not there:
            raise ValueError(
                f"no {side} in records: expected a masking 'ad:PRESET' and one of another name, got only "
                f"{', '.join(map(repr, known))}; add the missing side's rows, for the same images"
            )


def _best(values: pd.DataFrame, higher_is_better: bool) -> str | None:
    """The column with the best mean over the rows without NaN."""
    common = values.dropna()
    if common.empty or common.columns.empty:
        return None
    means = common.mean().round(_DECIMALS)
    return str(means.idxmax() if higher_is_better else means.idxmin())


def _generator(seed: int, value: str, row: dict[str, Any]) -> np.random.Generator:
    key = json.dumps([value, *row.values()])
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))


def _compared(
    differences: Floats, generator: np.random.Generator, n_resamples: int, confidence_level: float
) -> dict[str, float]:
    stats = needed("scipy.stats", "scipy", "metrics")
    n = len(differences)
    if n < 2:
        return {"n": n, "difference": np.nan, "ci_low": np.nan, "ci_high": np.nan, "p": np.nan}
    if (differences == differences[0]).all():
        low = high = difference = float(differences[0])
    else:
        difference = float(differences.mean())
        low, high = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=n_resamples,
            batch=max(1, 10_000_000 // n),  # 80 MB
            confidence_level=confidence_level,
            method="percentile",
            rng=generator,
        ).confidence_interval
    p = float(stats.wilcoxon(differences, zero_method="pratt").pvalue) if differences.any() else 1.0
    return {"n": n, "difference": difference, "ci_low": float(low), "ci_high": float(high), "p": p}


def _holm(p: Floats) -> Floats:
    corrected = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        multitest = needed("statsmodels.stats.multitest", "statsmodels", "metrics")
        corrected[tested] = multitest.multipletests(p[tested], method="holm")[1]
    return corrected
