"""Activation-Deactivation (AD) as a backend for Captum: explanations without a baseline.

attr = Occlusion(ADForward(model)).attribute(x, target=t, sliding_window_shapes=(3, 32, 32))

- :class:`ADForward` wraps a model; :class:`MaskRule` says how masks pass through it; a :class:`BaselineForward` paints.
- :mod:`captum_ad.testing`: ``check_model`` says whether AD works on a network; :func:`register_rule` helps if not.
- :mod:`captum_ad.segmentation` makes a ``feature_mask``; :mod:`captum_ad.attr` has attributors that Captum lacks.
- :mod:`captum_ad.metrics`: what an explanation is worth.
- :mod:`captum_ad.trace_plots`: masks layer by layer, of ``ADForward.trace``.
- :mod:`captum_ad.lime`, :mod:`captum_ad.shap`, :mod:`captum_ad.rex`: these packages, with AD in place of their paint.
"""

from captum_ad._version import __version__
from captum_ad.engine import PositionMask, register_rule, temporary_rules
from captum_ad.errors import UnknownNameError, UnsupportedOperationError
from captum_ad.forward import ADForward
from captum_ad.keeping import keeping_runs
from captum_ad.painted import BaselineForward
from captum_ad.registration import register, unregister
from captum_ad.rule import PRESETS, MaskRule
from captum_ad.trace import Checkpoint, Trace

register()

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
    "register",
    "register_rule",
    "temporary_rules",
    "unregister",
]
