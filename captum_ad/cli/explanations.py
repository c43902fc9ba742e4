"""What an attribution is worth: its sufficient explanation, and how robust that is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
"""Steps of the scan over positions: each adds 2.5 per cent of them."""

EQUAL_SIZE = 0.3
"""The size at which ρ is measured for every attribution alike."""


@dataclass(frozen=True)
class Scale:
    """How explanations are measured.

    Attributes
    ----------
    gamma : float
        Confidence threshold.
    backgrounds : DrawnBackgrounds
        The solid colors, K1.
    to_confidence : str
        From the model's output to confidences.
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
        bool, shape (H, W), on the CPU; nothing where none was found.
    found : bool
        Whether any part of the ranking suffices.
    size : float
        Share of the positions; NaN if not found, as the next two.
    confidence : float
        Of the target with the explanation alone, under its own masking.
    rho : float
        Share of the backgrounds on which the target is the answer.
    rho_at_equal_size : float
        The same for the highest :data:`EQUAL_SIZE` of the attribution, found or not.
    steps : Tensor
        int64, shape (H, W), on the CPU: the step of the scan at which a position appears, 0 first.
    curve : ConfidenceCurve
        What the scan found after each number of steps.
    class_kept : Tensor
        Whether the target is the answer on each background, bool, shape (n,), on the CPU; nowhere if not found.
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
        """What the summary says of it; None for NaN, which JSON lacks."""
        names = ("found", "size", "confidence", "rho", "rho_at_equal_size")
        values = {name: getattr(self, name) for name in names}
        return {name: value if value == value else None for name, value in values.items()} | {"empty": self.empty}

    @property
    def empty(self) -> bool:
        """Whether nothing at all keeps the class: the model's answer to an empty image."""
        return self.found and self.size == 0


@dataclass(frozen=True)
class Told:
    """An explanation's numbers, from the summary or from where they were measured, for :func:`in_words`."""

    found: bool
    size: float
    confidence: float


@dataclass(frozen=True)
class Planted:
    """What came of planting an explanation on so many backgrounds; NaN if there is none."""

    rho: float
    n: int


def in_words(attribution: Any, measures: Mapping[str, Any], backgrounds: int) -> str:
    """What the terminal and the page say of an explanation.

    Parameters
    ----------
    attribution : Tensor or array
        Shape (C, H, W).
    measures : mapping
        Of :meth:`Explanation.measures`.
    backgrounds : int
        How many solid colors it was planted on.
    """
    size, confidence, rho = (
        math.nan if measures[name] is None else measures[name] for name in ("size", "confidence", "rho")
    )
    told, planted = Told(measures["found"], size, confidence), Planted(rho, backgrounds)
    return str(describe(attribution, told, planted, backgrounds="solid colors", subject="photograph"))


def solid_colors(classifier: Classifier, x: Tensor, n: int, seed: int) -> DrawnBackgrounds:
    """K1 for an input: colors in the range of pixels that the classifier's transform normalizes.

    Where the transform does not show its normalization, the range of the input's own values is taken.
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
    """The explanation that an attribution gives under its own masking, and its ρ.

    Parameters
    ----------
    classifier : Classifier
        Of the input.
    method : str
        Whose features are superpixels, its explanation grows by those; else by positions.
    column : str
        ``ad:PRESET`` or a baseline.
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
        warnings.filterwarnings("ignore", message="the model gives the target")  # the table and the picture say it
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
