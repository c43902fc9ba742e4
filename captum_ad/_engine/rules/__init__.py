"""The rules that carry masks through operations: one module per family, each registers its rules on import.

To find the rule of an operation, search for its name in quotes: ``"max_pool2d"`` is in ``pooling.py``. A rule's
docstring says where the checkpoint is ("Checkpoint before") and how the mask of the result is computed.
"""

from captum_ad._engine import indexing, mixing, resampling, transforming, writing  # noqa: F401 (register axes)
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
