"""The metrics as torchmetrics' ``Metric``: means over explanations, reduced across processes.

The model is an argument of ``update`` and not part of a metric's state, so it is not moved, saved, or switched
to another mode with the metric.
"""

from captum_ad.metrics.modular.attention import AttentionCorrelation
from captum_ad.metrics.modular.explanations import (
    ConfidenceDropOff,
    ConfidenceKept,
    ConfidenceOnBackgrounds,
    Deletion,
    ExplanationSize,
    Insertion,
    RhoRobustness,
)
from captum_ad.metrics.modular.frames import FrameScore
from captum_ad.metrics.modular.localization import EnergyPointingGame, GridPointingGame, PointingGame, SpecificDrop
from captum_ad.metrics.modular.noise import NoiseRobustness
from captum_ad.metrics.modular.pathways import ActivationDeviation

__all__ = [
    "ActivationDeviation",
    "AttentionCorrelation",
    "ConfidenceDropOff",
    "ConfidenceKept",
    "ConfidenceOnBackgrounds",
    "Deletion",
    "EnergyPointingGame",
    "ExplanationSize",
    "FrameScore",
    "GridPointingGame",
    "Insertion",
    "NoiseRobustness",
    "PointingGame",
    "RhoRobustness",
    "SpecificDrop",
]
