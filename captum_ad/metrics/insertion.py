"""Insertion and deletion curves (Petsiuk et al. 2018, RISE), where "remove" is AD or any baseline."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, batch_of, masked, scored, whole_of
from captum_ad.metrics.inputs import Inputs, posed, with_arguments
from captum_ad.metrics.ranking import ranked
from captum_ad.metrics.scan import ConfidenceCurve


def insertion_curve(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    step: int | None = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> ConfidenceCurve:
    """The target's confidence as positions are added, highest attribution first. A larger area is better.

    Parameters
    ----------
    forward_func, inputs, attribution, target, baseline, additional_forward_args, feature_mask, step, to_confidence, \
        batch_size, show_progress
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ConfidenceCurve
        Over the fraction of positions present, from nothing to the whole input. Its ``area`` is the metric.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or the attribution holds NaN.
    """
    question = (target, baseline, additional_forward_args, to_confidence, batch_size, show_progress)
    return _curve(forward_func, inputs, attribution, feature_mask, step, False, *question)


def deletion_curve(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    step: int | None = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> ConfidenceCurve:
    """The target's confidence as positions are removed, highest attribution first. A smaller area is better.

    Parameters
    ----------
    forward_func, inputs, attribution, target, baseline, additional_forward_args, feature_mask, step, to_confidence, \
        batch_size, show_progress
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ConfidenceCurve
        Over the fraction of positions removed, from the whole input to nothing. Its ``area`` is the metric.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or the attribution holds NaN.
    """
    question = (target, baseline, additional_forward_args, to_confidence, batch_size, show_progress)
    return _curve(forward_func, inputs, attribution, feature_mask, step, True, *question)


def _curve(
    forward: nn.Module,
    x: Inputs,
    attribution: Inputs,
    feature_mask: Inputs | None,
    step: int | None,
    removes: bool,
    target: Asked,
    baseline: Baseline | None,
    additional_forward_args: Any,
    to_confidence: ToConfidence,
    batch_size: int | None,
    show_progress: bool,
) -> ConfidenceCurve:
    asked, judge = asking(masked(with_arguments(forward, additional_forward_args), baseline), target, to_confidence)
    runner, shown, values, labels, _ = posed(asked, x, attribution, feature_mask)
    ranking = ranked(values, shown, feature_mask=labels, step=step)
    whole_of(runner, shown, judge)
    counts = torch.arange(len(ranking) + 1, device=shown.device)

    def run(start: int, stop: int) -> Any:
        present = ranking.prefixes(counts[start:stop])
        return runner.outputs(shown.expand(stop - start, *shown.shape[1:]), mask=~present if removes else present)

    size, progress = batch_of(batch_size, shown.device), "Confidence curve" if show_progress else None
    confidence, kept = scored(run, len(counts), judge, size, progress)
    return ConfidenceCurve(ranking.sizes, confidence.double(), kept)
