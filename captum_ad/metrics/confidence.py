"""Size and confidence of explanations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, masked, scored, whole_of
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds
from captum_ad.metrics.inputs import Inputs, posed, with_arguments
from captum_ad.metrics.robustness import explanation_mask, rho_robustness
from captum_ad.metrics.scan import SufficientExplanation


def explanation_size(inputs: Inputs, explanation: SufficientExplanation | Inputs) -> float:
    """Fraction of the positions in an explanation, 0 to 1. Smaller is better at equal robustness.

    Parameters
    ----------
    inputs : Tensor
        The explained input, shape (1, C, *spatial).
    explanation : SufficientExplanation or Tensor
        The explanation, or its mask, bool, shape (*spatial).

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit or the explanation was not found.
    """
    return float(explanation_mask(explanation, inputs).double().mean())


def confidence_kept(
    forward_func: nn.Module,
    inputs: Inputs,
    explanation: SufficientExplanation | Inputs,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    to_confidence: ToConfidence = "softmax",
) -> float:
    """The target's confidence with only the explanation kept. Higher is better.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`.
    inputs : Tensor
        Shape (1, C, *spatial).
    explanation : SufficientExplanation or Tensor
        The explanation, or its mask, bool, shape (*spatial), True = in the explanation.
    target : int or Target, optional
        The class index, or one of :mod:`captum_ad.targets`; None if `forward_func` has a target.
    baseline, additional_forward_args, to_confidence
        As for :func:`sufficient_explanation`.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit or the explanation was not found.
    """
    return _alone_and_whole(
        forward_func, inputs, explanation, target, baseline, additional_forward_args, to_confidence
    )[0]


def confidence_drop_off(
    forward_func: nn.Module,
    inputs: Inputs,
    explanation: SufficientExplanation | Inputs,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    to_confidence: ToConfidence = "softmax",
) -> float:
    """The fraction of the original confidence that is lost if only the explanation is kept. Lower is better.

    This is max(0, whole − alone) / whole, the average drop of Chattopadhyay et al. 2018 (Grad-CAM++) for one input.

    Parameters
    ----------
    forward_func, inputs, explanation, target, baseline, additional_forward_args, to_confidence
        As for :func:`confidence_kept`.

    Raises
    ------
    ValueError, TypeError
        As in :func:`confidence_kept`; also if the confidence for the whole input is 0.
    """
    alone, whole = _alone_and_whole(
        forward_func, inputs, explanation, target, baseline, additional_forward_args, to_confidence
    )
    if whole <= 0:
        raise ValueError(f"the confidence in the target is {whole:g} for the whole input, so it cannot drop")
    return max(0.0, whole - alone) / whole


def confidence_on_backgrounds(
    model: nn.Module,
    inputs: Tensor,
    explanation: SufficientExplanation | Tensor,
    target: Asked,
    backgrounds: Backgrounds | DrawnBackgrounds,
    *,
    additional_forward_args: Any = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
) -> float:
    """The plain model's mean confidence in the target with the explanation planted on backgrounds. Higher is better.

    Parameters
    ----------
    model, inputs, explanation, target, backgrounds, additional_forward_args, to_confidence, batch_size
        As for :func:`rho_robustness`, which also returns this confidence.

    Raises
    ------
    ValueError, TypeError
        As in :func:`rho_robustness`.
    """
    return rho_robustness(
        model,
        inputs,
        explanation,
        target,
        backgrounds,
        additional_forward_args=additional_forward_args,
        to_confidence=to_confidence,
        batch_size=batch_size,
    ).confidence


def _alone_and_whole(
    forward: nn.Module,
    x: Inputs,
    explanation: SufficientExplanation | Inputs,
    target: Asked,
    baseline: Baseline | None,
    additional_forward_args: Any,
    to_confidence: ToConfidence,
) -> tuple[float, float]:
    mask = explanation_mask(explanation, x)
    asked, judge = asking(masked(with_arguments(forward, additional_forward_args), baseline), target, to_confidence)
    runner, shown, *_ = posed(asked, x)
    whole_of(runner, shown, judge)
    masks = torch.stack([mask, torch.ones_like(mask)])
    confidence, _ = scored(lambda i, j: runner.outputs(shown, mask=masks[i:j]), 2, judge, 1)
    return float(confidence[0]), float(confidence[1])
