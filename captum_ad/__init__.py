"""Activation-Deactivation (AD) as a backend for Captum: explanations without a baseline.

attr = Occlusion(ADForward(model)).attribute(x, target=t, sliding_window_shapes=(3, 32, 32))
"""

from captum_ad._version import __version__
from captum_ad.engine import FeatureMask, register_rule
from captum_ad.errors import UnknownNameError, UnsupportedOperationError
from captum_ad.forward import ADForward
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
    "FeatureMask",
    "MaskRule",
    "Trace",
    "UnknownNameError",
    "UnsupportedOperationError",
    "__version__",
    "register",
    "register_rule",
    "unregister",
]
