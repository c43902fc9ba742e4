"""Insertion and deletion curves (Petsiuk et al. 2018, RISE), where "remove" is AD or any baseline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from captum_ad.metrics.ranking import Ranking, ranked
from captum_ad.metrics.scan import ConfidenceCurve
from captum_ad.painted import Baseline
from captum_ad.scoring import Asked, ToConfidence, asking, batch_of, masked, scored, whole_of


def insertion_curve(
    forward: nn.Module,
    x: Tensor,
    attribution: Tensor,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    feature_mask: Tensor | None = None,
    step: int | None = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> ConfidenceCurve:
    """The target's confidence while the highest positions of an attribution appear. A larger area is better.

    Parameters
    ----------
    forward, x, attribution, target, baseline, feature_mask, step, to_confidence, batch_size, show_progress
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ConfidenceCurve
        Over the share of positions present, from nothing to the whole input; its ``area`` is the metric.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or the attribution holds NaN.
    """
    ranking = ranked(attribution, x, feature_mask=feature_mask, step=step)
    return _curve(forward, x, ranking, ranking.prefixes, target, baseline, to_confidence, batch_size, show_progress)


def deletion_curve(
    forward: nn.Module,
    x: Tensor,
    attribution: Tensor,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    feature_mask: Tensor | None = None,
    step: int | None = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> ConfidenceCurve:
    """The target's confidence while the highest positions of an attribution disappear. A smaller area is better.

    Parameters
    ----------
    forward, x, attribution, target, baseline, feature_mask, step, to_confidence, batch_size, show_progress
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ConfidenceCurve
        Over the share of positions removed, from the whole input to nothing; its ``area`` is the metric.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or the attribution holds NaN.
    """
    ranking = ranked(attribution, x, feature_mask=feature_mask, step=step)

    def left(counts: Tensor) -> Tensor:
        return ~ranking.prefixes(counts)

    return _curve(forward, x, ranking, left, target, baseline, to_confidence, batch_size, show_progress)


def _curve(
    forward: nn.Module,
    x: Tensor,
    ranking: Ranking,
    masks: Callable[[Tensor], Tensor],
    target: Asked,
    baseline: Baseline | None,
    to_confidence: ToConfidence,
    batch_size: int | None,
    show_progress: bool,
) -> ConfidenceCurve:
    runner, judge = asking(masked(forward, baseline), target, to_confidence)
    whole_of(runner, x, judge)
    counts = torch.arange(len(ranking) + 1, device=x.device)

    def run(start: int, stop: int) -> Tensor:
        output: Tensor = runner.outputs(x.expand(stop - start, *x.shape[1:]), mask=masks(counts[start:stop]))
        return output

    size, progress = batch_of(batch_size, x.device), "Confidence curve" if show_progress else None
    confidence, kept = scored(run, len(counts), judge, size, progress)
    return ConfidenceCurve(ranking.sizes, confidence.double(), kept)
