"""Measures over scenes and their paired differences, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captum_ad._common.extras import needed
from captum_ad.metrics.recommendation_text import number

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A measure over scenes.

    Attributes
    ----------
    value : float
        The measure over all scenes; NaN if it is not defined.
    low, high : float
        The percentile bootstrap interval over scenes; NaN for a single scene.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        if np.isnan(self.low):
            return number(self.value)
        between = " to " if min(self.low, self.high) < 0 else "–"
        return f"{number(self.value)} ({number(self.low)}{between}{number(self.high)})"


@dataclass(frozen=True)
class PerScene:
    """The contributions of scenes to a measure that is a ratio of sums over scenes, or the root of one.

    Attributes
    ----------
    numerator, denominator : array
        float64, shape (scenes,).
    root : bool
        Whether the measure is the square root of the ratio.
    """

    numerator: Floats
    denominator: Floats
    root: bool = False

    def over(self, counts: Floats) -> Floats:
        """The measure with each scene counted `counts` times; shapes (draws, scenes) to (draws,)."""
        below = counts @ self.denominator
        ratio = np.divide(counts @ self.numerator, below, out=np.full(len(counts), np.nan), where=below > 0)
        measure: Floats = np.sqrt(ratio) if self.root else ratio
        return measure


def estimate(
    measured: PerScene,
    minus: PerScene | None = None,
    *,
    seed: int = 0,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
) -> Estimate:
    """A measure, or the difference of two over the same scenes, with its bootstrap interval.

    Parameters
    ----------
    measured : PerScene
        The contributions of scenes to the measure.
    minus : PerScene, optional
        The measure to subtract. Both are measured on the same draws of scenes, so they are paired.
    seed : int
        Seed of the draws.
    n_resamples : int
        Number of draws, at least 1.
    confidence_level : float
        Confidence level of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        If an option is out of range, or the two measures have different numbers of scenes.

    Examples
    --------
    >>> halves = PerScene(np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    >>> print(estimate(halves), estimate(halves, halves).value)
    .50 (.50–.50) 0.0
    """
    scenes = len(measured.numerator)
    if minus is not None and len(minus.numerator) != scenes:
        raise ValueError(f"cannot pair {scenes} scenes with {len(minus.numerator)}: measure both on the same scenes")
    if n_resamples < 1 or not 0 < confidence_level < 1:
        raise ValueError(
            f"expected n_resamples of at least 1 and a confidence_level between 0 and 1, got {n_resamples} and "
            f"{confidence_level}"
        )
    if scenes == 1:
        alone = np.ones((1, 1))
        return Estimate(float(measured.over(alone)[0] - (0 if minus is None else minus.over(alone)[0])), np.nan, np.nan)
    draws = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), n_resamples)
    counts = np.concatenate([np.ones((1, scenes)), draws])
    values = measured.over(counts) - (0 if minus is None else minus.over(counts))
    known = values[1:][~np.isnan(values[1:])]
    if not len(known):
        return Estimate(float(values[0]), np.nan, np.nan)
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(float(values[0]), float(low), float(high))


def rank_correlations(found: Floats, truth: Floats) -> Floats:
    """Spearman's correlation of each row of `found` with that row of `truth`.

    Parameters
    ----------
    found, truth : array
        float64, shape (rows, n), n at least 2.

    Returns
    -------
    array
        float64, shape (rows,). 0 where a row of `found` is constant; NaN where a row of `truth` is, because it has
        no order.
    """
    stats = needed("scipy.stats", "scipy", "metrics")
    ranks = [stats.rankdata(values, axis=1) for values in (found, truth)]
    first, second = (values - values.mean(1, keepdims=True) for values in ranks)
    spread = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    correlations = np.divide((first * second).sum(1), spread, out=np.zeros(len(first)), where=spread > 0)
    return np.where((second**2).sum(1) > 0, correlations, np.nan)


def mean_of(values: Floats) -> PerScene:
    """The mean of values, one per scene; NaN are left out."""
    known = ~np.isnan(values)
    return PerScene(np.where(known, values, 0.0), known.astype(np.float64))


def relative(differences: Floats, truth: Floats) -> PerScene:
    """The norm of the differences relative to that of the truth; both have shape (scenes, ...)."""
    squares = [(values.reshape(len(values), -1) ** 2).sum(1) for values in (differences, truth)]
    return PerScene(squares[0], squares[1], root=True)
