"""Measures of an attribution: its sufficient explanation, and how robust that is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_ad._common.errors import EmptyExplanationWarning
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad._methods import OVER_SUPERPIXELS, Task
from captum_ad._scoring import Judge
from captum_ad.cli.models import Classifier
from captum_ad.metrics import SolidColors, sufficient_explanation
from captum_ad.metrics.backgrounds import DrawnBackgrounds
from captum_ad.metrics.description import describe
from captum_ad.metrics.planting import planted_scores
from captum_ad.metrics.ranking import ranked
from captum_ad.metrics.robustness import equal_size_masks
from captum_ad.metrics.scan import ConfidenceCurve

STEPS = 40
"""The number of steps of the scan over positions; each adds 2.5 percent of them."""

EQUAL_SIZE = 0.3
"""The size, as a share of the positions, at which ρ of all attributions is compared."""


@dataclass(frozen=True)
class Scale:
    """How explanations are measured.

    Attributes
    ----------
    gamma : float
        Confidence threshold, a share of the original confidence, 0 to 1.
    backgrounds : DrawnBackgrounds
        The solid colors, K1.
    to_confidence : str
        How the model's output is turned into confidences.
    batch_size : int
        Inputs per forward.
    """

    gamma: float
    backgrounds: DrawnBackgrounds
    to_confidence: str
    batch_size: int


@dataclass(frozen=True)
class Explanation:
    """A sufficient explanation and its measures.

    Attributes
    ----------
    mask : Tensor
        bool, shape (H, W), on the CPU; all False if none was found.
    found : bool
        Whether any part of the ranking is sufficient.
    size : float
        Share of the positions; NaN if not found.
    confidence : float
        Confidence in the target with the explanation alone, under its own masking; NaN if not found.
    rho : float
        Share of the backgrounds on which the target is the answer; NaN if not found.
    rho_at_equal_size : float
        The same for the highest :data:`EQUAL_SIZE` of the attribution, whether or not an explanation was found.
    steps : Tensor
        int64, shape (H, W), on the CPU: the step of the scan, from 0, at which each position appears.
    curve : ConfidenceCurve
        Confidences after each step of the scan.
    class_kept : Tensor
        Whether the target is the answer on each background, bool, shape (n,), on the CPU; all False if not found.
    """

    mask: Tensor
    found: bool
    size: float
    confidence: float
    rho: float
    rho_at_equal_size: float
    steps: Tensor
    curve: ConfidenceCurve
    class_kept: Tensor

    def measures(self) -> dict[str, Any]:
        """The numbers for the summary, with None for NaN, which JSON does not have."""
        names = ("found", "size", "confidence", "rho", "rho_at_equal_size")
        values = {name: getattr(self, name) for name in names}
        return {name: value if value == value else None for name, value in values.items()} | {"empty": self.empty}

    @property
    def empty(self) -> bool:
        """Whether the model gives the class even to an image of which nothing is shown."""
        return self.found and self.size == 0


@dataclass(frozen=True)
class Told:
    """An explanation's numbers, as :func:`captum_ad.metrics.description.describe` takes them."""

    found: bool
    size: float
    confidence: float


@dataclass(frozen=True)
class Planted:
    """ρ of an explanation on `n` backgrounds; NaN if there is no explanation."""

    rho: float
    n: int


def in_words(attribution: Any, measures: Mapping[str, Any], backgrounds: int) -> str:
    """An explanation in words, for the terminal and the page.

    Parameters
    ----------
    attribution : Tensor or array
        Shape (C, H, W).
    measures : mapping
        As :meth:`Explanation.measures` returns them.
    backgrounds : int
        The number of solid colors that it was planted on.
    """
    size, confidence, rho = (
        math.nan if measures[name] is None else measures[name] for name in ("size", "confidence", "rho")
    )
    told, planted = Told(measures["found"], size, confidence), Planted(rho, backgrounds)
    return str(describe(attribution, told, planted, backgrounds="solid colors", subject="photograph"))


def solid_colors(classifier: Classifier, x: Tensor, n: int, seed: int) -> DrawnBackgrounds:
    """K1 for an input: random colors in the range of pixel values, normalized like the classifier's inputs.

    If the transform's normalization is not known, the range of the input's own values is used.
    """
    mean, std = classifier.normalization(x.shape[1])
    if mean is None or std is None:
        low, high = float(x.min()), float(x.max())
        colors = SolidColors(n, seed, low=low, high=high if high > low else low + 1)
    else:
        colors = SolidColors(n, seed, mean, std)
    return colors.draw(classifier.model, x, 0)


def measure(
    classifier: Classifier, method: str, column: str, task: Task, attribution: Tensor, scale: Scale
) -> Explanation:
    """Measure the explanation that an attribution gives under its own masking.

    Parameters
    ----------
    classifier : Classifier
        The explained classifier.
    method : str
        The method. If its features are superpixels, the explanation grows by superpixels, else by positions.
    column : str
        The masking: ``ad:PRESET`` or a baseline.
    task : Task
        What was explained.
    attribution : Tensor
        Shape (C, H, W).
    scale : Scale
        How to measure.
    """
    x, over_superpixels = task.x, method in OVER_SUPERPIXELS
    feature_mask = task.superpixels if over_superpixels else None
    step = 1 if over_superpixels else max(1, math.ceil(x[0, 0].numel() / STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyExplanationWarning)  # the table and the picture show it
        found = sufficient_explanation(
            masked_forward(classifier.model, column),
            x,
            attribution,
            task.target,
            scale.gamma,
            feature_mask=feature_mask,
            step=step,
            allow_other_target=True,
            to_confidence=scale.to_confidence,
            batch_size=scale.batch_size,
        )
    masks = torch.cat([found.mask[None], equal_size_masks(attribution, x, [EQUAL_SIZE])])
    judge = Judge(task.target, scale.to_confidence)
    kept, _ = planted_scores(classifier.model, x, masks, scale.backgrounds, judge, scale.batch_size)
    rho, at_equal_size = kept.double().mean(1).tolist()
    return Explanation(
        found.mask.cpu(),
        found.found,
        found.size,
        found.confidence,
        rho if found.found else math.nan,
        at_equal_size,
        ranked(attribution, x, feature_mask=feature_mask, step=step).steps.cpu(),
        found.curve,
        kept[0].cpu() & found.found,
    )
