"""How masks pass through operations: one module per family, each registers its rules on import."""

from captum_ad.engine.rules import (
    combination,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    shape,
)

__all__ = [
    "combination",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "shape",
]
