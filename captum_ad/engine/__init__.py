"""The AD engine: masks and Φ (`masks`, `positions`), the interpreter that carries them, the rules."""

from captum_ad.engine import rules
from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask
from captum_ad.engine.registry import register_rule

__all__ = ["FeatureMask", "Interpreter", "register_rule", "rules"]
