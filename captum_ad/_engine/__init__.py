"""The AD engine: the definitions, the interpreter that carries masks, the rules of operations."""

from captum_ad._engine import rules
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import register_rule, temporary_rules

__all__ = ["Interpreter", "PositionMask", "register_rule", "rules", "temporary_rules"]
