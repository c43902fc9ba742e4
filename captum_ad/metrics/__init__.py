"""Metrics of explanations: sufficiency, ρ-robustness, insertion and deletion, missingness, localization, pathways.

Functions measure one input; most have a torchmetrics class that averages over many. :func:`compare` runs a
whole study; :func:`summarize` and :func:`significance` evaluate its results, and plots show them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from captum_ad.metrics.attention import attention_maps
from captum_ad.metrics.attention_agreement import AttentionCorrelations, attention_correlation
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds, OtherClassImages, SolidColors
from captum_ad.metrics.collages import Collages, collage, make_collages
from captum_ad.metrics.comparing import compare
from captum_ad.metrics.confidence import (
    confidence_drop_off,
    confidence_kept,
    confidence_on_backgrounds,
    explanation_size,
)
from captum_ad.metrics.controls import ObjectDrop, equal_area_control, object_drop
from captum_ad.metrics.curve import Curve
from captum_ad.metrics.description import Description, describe
from captum_ad.metrics.explanation import PAPER_GAMMAS, sufficient_explanation
from captum_ad.metrics.frames import FrameCurve, frame_curve
from captum_ad.metrics.insertion import deletion_curve, insertion_curve
from captum_ad.metrics.localization import energy_pointing_game, grid_pointing_game, pointing_game
from captum_ad.metrics.missingness import MissingnessCurve, missingness_curve, present_masks
from captum_ad.metrics.noise import NoiseResponse, noise_responses, noise_study
from captum_ad.metrics.noise_plots import plot_noise_robustness
from captum_ad.metrics.noise_statistics import noise_robustness, noise_significance
from captum_ad.metrics.noises import corrupted
from captum_ad.metrics.pathway_plots import plot_activation_deviation
from captum_ad.metrics.pathways import PathwayDeviation, activation_deviation
from captum_ad.metrics.places import box_mask, cell_masks
from captum_ad.metrics.planting import planted
from captum_ad.metrics.plots import plot_explanation, plot_planted, plot_rho_over_gamma, plot_rho_over_size
from captum_ad.metrics.recommendation import recommend_rule
from captum_ad.metrics.recommendation_table import Recommendation
from captum_ad.metrics.robustness import RhoCurve, Robustness, rho_curve, rho_robustness
from captum_ad.metrics.scan import ConfidenceCurve, SufficientExplanation
from captum_ad.metrics.similarity import rank_biased_overlap, rank_correlation, ssim, top_overlap
from captum_ad.metrics.statistics import significance, summarize

if TYPE_CHECKING:
    from captum_ad.metrics.modular import (
        ActivationDeviation,
        AttentionCorrelation,
        ConfidenceDropOff,
        ConfidenceKept,
        ConfidenceOnBackgrounds,
        Deletion,
        EnergyPointingGame,
        ExplanationSize,
        FrameScore,
        GridPointingGame,
        Insertion,
        NoiseRobustness,
        PointingGame,
        RhoRobustness,
        SpecificDrop,
    )

__all__ = [
    "PAPER_GAMMAS",
    "ActivationDeviation",
    "AttentionCorrelation",
    "AttentionCorrelations",
    "Backgrounds",
    "Collages",
    "ConfidenceCurve",
    "ConfidenceDropOff",
    "ConfidenceKept",
    "ConfidenceOnBackgrounds",
    "Curve",
    "Deletion",
    "Description",
    "DrawnBackgrounds",
    "EnergyPointingGame",
    "ExplanationSize",
    "FrameCurve",
    "FrameScore",
    "GridPointingGame",
    "Insertion",
    "MissingnessCurve",
    "NoiseResponse",
    "NoiseRobustness",
    "ObjectDrop",
    "OtherClassImages",
    "PathwayDeviation",
    "PointingGame",
    "Recommendation",
    "RhoCurve",
    "RhoRobustness",
    "Robustness",
    "SolidColors",
    "SpecificDrop",
    "SufficientExplanation",
    "activation_deviation",
    "attention_correlation",
    "attention_maps",
    "box_mask",
    "cell_masks",
    "collage",
    "compare",
    "confidence_drop_off",
    "confidence_kept",
    "confidence_on_backgrounds",
    "corrupted",
    "deletion_curve",
    "describe",
    "energy_pointing_game",
    "equal_area_control",
    "explanation_size",
    "frame_curve",
    "grid_pointing_game",
    "insertion_curve",
    "make_collages",
    "missingness_curve",
    "noise_responses",
    "noise_robustness",
    "noise_significance",
    "noise_study",
    "object_drop",
    "planted",
    "plot_activation_deviation",
    "plot_explanation",
    "plot_noise_robustness",
    "plot_planted",
    "plot_rho_over_gamma",
    "plot_rho_over_size",
    "pointing_game",
    "present_masks",
    "rank_biased_overlap",
    "rank_correlation",
    "recommend_rule",
    "rho_curve",
    "rho_robustness",
    "significance",
    "ssim",
    "sufficient_explanation",
    "summarize",
    "top_overlap",
]


_CLASSES = set(__all__) - set(globals())
if find_spec("torchmetrics") is None:  # so that "import *" and help() work without it
    __all__ = [name for name in __all__ if name not in _CLASSES]


def __getattr__(name: str) -> Any:
    """Import the classes, which need torchmetrics, on first access."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from captum_ad.metrics import modular

    return getattr(modular, name)


def __dir__() -> list[str]:
    return __all__
