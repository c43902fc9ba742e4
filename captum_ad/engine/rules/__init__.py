"""How masks pass through operations: one module per family, each registers its rules on import."""

from captum_ad.engine.rules import (
    combination,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    reduction,
    sampling,
    selection,
    shape,
    statistics,
)

__all__ = [
    "combination",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "sampling",
    "selection",
    "shape",
    "statistics",
]
