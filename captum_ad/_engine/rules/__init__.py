"""How masks pass through operations: one module per family, each registers its rules on import."""

from captum_ad._engine import indexing, mixing, resampling, transforming, writing  # noqa: F401 (what becomes of axes)
from captum_ad._engine.rules import (  # noqa: F401
    attention,
    combination,
    composed,
    contraction,
    convolution,
    elementwise,
    linear,
    normalization,
    ordering,
    pooling,
    recurrent,
    reduction,
    regions,
    respelled,
    sampling,
    scan,
    scatter,
    selection,
    shape,
    spectral,
    statistics,
    unpooling,
)
