"""Activation-Deactivation (AD) as a backend for Captum: explanations without a baseline.

attr = Occlusion(ADForward(model)).attribute(x, target=t, sliding_window_shapes=(3, 32, 32))

- :class:`ADForward` wraps a model; :class:`MaskRule` sets how masks propagate; :class:`BaselineForward` paints instead.
- :mod:`captum_ad.testing`: ``check_model`` tests whether AD works on a network; :func:`register_rule` adds operations.
- :mod:`captum_ad.segmentation` makes a ``feature_mask``; :mod:`captum_ad.attr` has attributors that Captum lacks.
- :mod:`captum_ad.metrics` measures how good an explanation is.
- :mod:`captum_ad.trace.plots` draws the masks that ``ADForward.trace`` records, layer by layer.
- :mod:`captum_ad.adapters`: lime, shap, ReX, Quantus, grad-cam, and shapiq with AD instead of a baseline.
"""

from captum_ad._captum.registration import register_captum, unregister_captum
from captum_ad._common.errors import UnknownNameError, UnsupportedOperationError
from captum_ad._engine import PositionMask, register_rule, temporary_rules
from captum_ad._engine.mask_rule import PRESETS, MaskRule
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.baseline_forward import BaselineForward
from captum_ad._forwards.keeping import keeping_runs
from captum_ad._version import __version__
from captum_ad.trace.records import Checkpoint, Trace

register_captum()

__all__ = [
    "PRESETS",
    "ADForward",
    "BaselineForward",
    "Checkpoint",
    "MaskRule",
    "PositionMask",
    "Trace",
    "UnknownNameError",
    "UnsupportedOperationError",
    "__version__",
    "keeping_runs",
    "register_captum",
    "register_rule",
    "temporary_rules",
    "unregister_captum",
]
