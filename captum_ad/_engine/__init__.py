"""The AD engine: runs a model with a position mask beside every tensor (arXiv 2510.01038).

Where to find what the paper describes:

- Position attribution Φ (Definition 4): :func:`captum_ad._engine.definitions.attribute_positions`.
- The checkpoint (Definition 5): :meth:`captum_ad._engine.context.Context.deactivate`.
- Algorithm 1: :class:`captum_ad._engine.interpreter.Interpreter`, which calls one rule per operation.
- The rules: :mod:`captum_ad._engine.rules`, one module per family of operations. That of ``F.max_pool2d`` is
  :func:`captum_ad._engine.rules.pooling.max_pool`.
"""

from captum_ad._engine import rules
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import register_rule, temporary_rules

__all__ = ["Interpreter", "PositionMask", "register_rule", "rules", "temporary_rules"]
