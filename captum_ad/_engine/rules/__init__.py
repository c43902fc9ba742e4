"""The rules that carry masks through operations: one module per family registers its rules on import.

To find the rule of an operation, search this folder for its name: ``max_pool2d`` is in ``pooling.py``, ``sigmoid`` in a
list of names in ``elementwise.py``. Or ask: ``captum_ad._engine.registry.rule_for(torch.sigmoid, True)``. A rule's
docstring says how the mask of the result is computed and, if there is one, where the checkpoint is.
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
