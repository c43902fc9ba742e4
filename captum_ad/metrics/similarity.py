"""Similarity of two attributions of one image: rank-biased overlap, rank correlation, SSIM, overlap of the top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._common.extras import needed
from captum_ad.metrics.localization import of_pixels
from captum_ad.metrics.ranking import labels_of_positions


def rank_biased_overlap(one: Sequence[int] | Tensor, other: Sequence[int] | Tensor, p: float = 0.9) -> float:
    """Rank-biased overlap of two rankings, extrapolated: RBO_ext of Webber, Moffat and Zobel 2010.

    *A Similarity Measure for Indefinite Rankings* (ACM TOIS). With X_d the number of common items among the first d of
    both, and k the length, it is ``p^k X_k / k + (1 − p) / p Σ_d p^d X_d / d``: 1 for equal rankings, 0 if there are no
    common items. The top has the most weight: with p = 0.9 the first ten ranks have 86 % of it.

    Parameters
    ----------
    one, other : sequence of int or Tensor
        Items, highest rank first, without duplicates. Both must have the same length.
    p : float
        In (0, 1). A larger p gives lower ranks more weight.

    Raises
    ------
    ValueError
        If lengths differ, a ranking is empty or has duplicates, or `p` is invalid.

    Examples
    --------
    >>> round(rank_biased_overlap([0, 1, 2], [0, 2, 1]), 3)
    0.955
    """
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 < p < 1:
        raise ValueError(f"p must be a number between 0 and 1, got {p!r}")
    first, second = ([int(item) for item in items] for items in (one, other))
    if not first or len(first) != len(second):
        raise ValueError(f"expected two rankings of equal length, got {len(first)} and {len(second)} items")
    if any(len(set(items)) < len(items) for items in (first, second)):
        raise ValueError("an item is ranked twice: pass each item once")
    seen_first: set[int] = set()
    seen_second: set[int] = set()
    common, total = 0, 0.0
    for depth, (a, b) in enumerate(zip(first, second), start=1):
        common += (a == b) + (a in seen_second) + (b in seen_first)
        seen_first.add(a)
        seen_second.add(b)
        total += p**depth * common / depth
    return common / len(first) * p ** len(first) + (1 - p) / p * total


def segment_ranking(attribution: Tensor, segments: Tensor) -> Tensor | None:
    """Labels of segments by their mean attribution, highest first; None if all means are equal.

    Parameters
    ----------
    attribution : Tensor
        Shape (H, W), (C, H, W) or (1, C, H, W); channels are summed.
    segments : Tensor
        Integer labels, shape (H, W) or with leading dimensions of 1. Ties are broken by the smaller label.
    """
    values = of_pixels(attribution)
    labels = labels_of_positions(segments, values[None, None])
    names, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    means = values.new_zeros(len(names)).index_add_(0, place, values.flatten()) / counts
    if bool((means.max() - means.min()) <= 1e-12 * means.abs().max()):
        return None
    ranked: Tensor = names[means.argsort(descending=True, stable=True)]
    return ranked


def rbo_similarity(one: Tensor, other: Tensor, segments: Tensor | None, *, p: float = 0.9) -> float:
    """Rank-biased overlap of the segments' rankings by mean attribution; NaN if one ranks nothing."""
    if segments is None:
        raise ValueError("rank-biased overlap needs segments: use captum_ad.segmentation.superpixels(image)")
    rankings = [segment_ranking(values, segments) for values in (one, other)]
    if rankings[0] is None or rankings[1] is None:
        return math.nan
    return rank_biased_overlap(rankings[0], rankings[1], p)


def rank_correlation(one: Tensor, other: Tensor, segments: Tensor | None = None) -> float:
    """Spearman's correlation of two attributions over positions, −1 to 1; NaN if one of them is constant.

    Parameters
    ----------
    one, other : Tensor
        Shape (H, W), (C, H, W) or (1, C, H, W); channels are summed.
    segments : Tensor, optional
        Not used; all similarity measures take it.

    Raises
    ------
    ValueError, TypeError
        If shapes differ, or one contains NaN or Inf.

    Examples
    --------
    >>> rank_correlation(torch.arange(4.0).reshape(2, 2), -torch.arange(4.0).reshape(2, 2))
    -1.0
    """
    stats = needed("scipy.stats", "scipy", "metrics")
    first, second = _alike(one, other)
    if bool((first == first[0, 0]).all()) or bool((second == second[0, 0]).all()):
        return math.nan
    return float(stats.spearmanr(first.flatten().cpu().numpy(), second.flatten().cpu().numpy()).statistic)


def ssim(one: Tensor, other: Tensor, segments: Tensor | None = None) -> float:
    """Structural similarity of two attributions, each scaled to [0, 1], −1 to 1; NaN if one of them is constant.

    Wang et al. 2004 (IEEE TIP), with uniform windows of 7 × 7 pixels, or of the largest odd side that fits,
    K₁ = 0.01, K₂ = 0.03, and sample covariances, as in scikit-image by default.

    Parameters
    ----------
    one, other, segments
        As for :func:`rank_correlation`.
    """
    first, second = _alike(one, other)
    scaled = []
    for values in (first, second):
        low, high = values.min(), values.max()
        if not bool(high > low):
            return math.nan
        scaled.append(((values - low) / (high - low))[None, None])
    side = min(7, *first.shape)
    side -= 1 - side % 2
    count = side**2
    sample = count / max(1, count - 1)

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, side, 1)

    a, b = scaled
    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = sample * (mean(a * a) - mean_a**2), sample * (mean(b * b) - mean_b**2)
    both = sample * (mean(a * b) - mean_a * mean_b)
    first_constant, second_constant = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + first_constant) * (2 * both + second_constant)
    below = (mean_a**2 + mean_b**2 + first_constant) * (spread_a + spread_b + second_constant)
    return float((above / below).mean())


def top_overlap(one: Tensor, other: Tensor, segments: Tensor | None = None, *, share: float = 0.1) -> float:
    """Intersection over union of the highest positions of two attributions, 0 to 1; NaN if one of them is constant.

    Parameters
    ----------
    one, other, segments
        As for :func:`rank_correlation`.
    share : float
        Fraction of the positions, in (0, 1], at least one position. Ties are broken in row-major order.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise ValueError(f"share must be a number above 0, up to 1, got {share!r}")
    first, second = _alike(one, other)
    if bool((first == first[0, 0]).all()) or bool((second == second[0, 0]).all()):
        return math.nan
    count = max(1, round(share * first.numel()))
    tops = [values.flatten().argsort(descending=True, stable=True)[:count].tolist() for values in (first, second)]
    return len(set(tops[0]) & set(tops[1])) / len(set(tops[0]) | set(tops[1]))


SIMILARITIES: dict[str, Any] = {
    "rbo": rbo_similarity,
    "rank_correlation": rank_correlation,
    "ssim": ssim,
    "top_overlap": top_overlap,
}
"""Functions of two attributions and segments, by name."""


def _alike(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    first, second = of_pixels(one), of_pixels(other)
    if first.shape != second.shape:
        raise ValueError(f"expected attributions of equal shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    return first, second.to(first.device)
