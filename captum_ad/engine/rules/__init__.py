"""How masks pass through operations: one module per family, each registers its rules on import."""

from captum_ad.engine import indexing, mixing  # what becomes of axes
from captum_ad.engine.rules import (
    attention,
    combination,
    composed,
    contraction,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    sampling,
    selection,
    shape,
    statistics,
)

__all__ = [
    "attention",
    "combination",
    "composed",
    "contraction",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "mixing",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "sampling",
    "selection",
    "shape",
    "statistics",
]
