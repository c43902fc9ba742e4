"""The choices of a masked forward that the paper leaves open: four knobs, and presets for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

from captum_ad._common.errors import UnknownNameError

Growth = Literal["window", "none"]
Sum = Literal["union", "intersection"]
Average = Literal["all", "active"]
Border = Literal["zero", "mean"]


@dataclass(frozen=True)
class MaskRule:
    """How masks pass through a network. Immutable; the defaults are the paper's rule.

    (An ADForward that is given no rule uses the preset ``"no-growth-mean"``.)

    Parameters
    ----------
    growth : {"window", "none"}
        Which positions are active after a convolution or a pooling window. ``"window"``: those whose
        position attribution Φ exceeds τ (Definition 4), so that active regions grow by the
        kernel's reach at each layer. ``"none"``: of those, only the ones that were active themselves
        (at a stride above 1: that cover an active position), as in submanifold sparse convolution.
    sum : {"union", "intersection"}
        Where the sum of two masked maps is active. ``"union"``: where Φ over the two contributions
        exceeds τ, so for τ < 1/2 where either is active. ``"intersection"``: where both are.
    average : {"all", "active"}
        What an average over space divides by. ``"all"``: every position, deactivated ones counting
        as zero. ``"active"``: the active positions.
    border : {"zero", "mean"}
        What an active window reads at a deactivated position. ``"zero"``, or the ``"mean"`` of the
        active positions around it (3×3, repeated as far as the kernel reaches), as in layer masking
        (Balasubramanian and Feizi 2023).

    Raises
    ------
    UnknownNameError
        If a knob is set to any other value.

    Examples
    --------
    >>> MaskRule(growth="none")
    MaskRule(growth='none', sum='union', average='all', border='zero')
    >>> MaskRule.named("no-growth") == MaskRule.named("growth=none,average=active")
    True
    >>> MaskRule(growth="none").name, MaskRule(growth="none", average="active").name
    ('growth=none', 'no-growth')
    """

    growth: Growth = "window"
    sum: Sum = "union"
    average: Average = "all"
    border: Border = "zero"

    def __post_init__(self) -> None:
        allowed = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            if value not in get_args(allowed[field.name]):
                raise UnknownNameError(f"value for MaskRule.{field.name}", str(value), get_args(allowed[field.name]))

    @classmethod
    def named(cls, name: str) -> MaskRule:
        """The rule with this name.

        Parameters
        ----------
        name : str
            One of :data:`PRESETS`, or knobs: ``"KNOB=VALUE,KNOB=VALUE"``. Knobs left out are the paper's.

        Raises
        ------
        UnknownNameError
            If there is no such preset or knob, or the knob has no such value.
        ValueError, TypeError
            ValueError if a knob is given twice or without a value; TypeError if `name` is not a string.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a rule is a string, got {type(name).__name__}: use a MaskRule as it is")
        if name.startswith("ad:"):
            raise ValueError(
                f"rule {name!r}: the prefix 'ad:' tells rules from baselines where both are expected; here, write "
                f"{name.removeprefix('ad:')!r}"
            )
        if "=" not in name:
            if name not in PRESETS:
                raise UnknownNameError("rule", name, PRESETS)
            return PRESETS[name]
        known = [field.name for field in fields(cls)]
        knobs: dict[str, Any] = {}
        for part in name.split(","):
            knob, _, value = (word.strip() for word in part.partition("="))
            if knob not in known:
                raise UnknownNameError("knob of MaskRule", knob, known)
            if not value or knob in knobs:
                raise ValueError(f"rule {name!r}: expected each knob once, as KNOB=VALUE, got {part.strip()!r}")
            knobs[knob] = value
        return cls(**knobs)

    @property
    def name(self) -> str:
        """The preset's name, or else the knobs that differ from the paper's; :meth:`named` accepts both."""
        for preset, rule in PRESETS.items():
            if rule == self:
                return preset
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return ",".join(f"{knob}={getattr(self, knob)}" for knob in changed)


PRESETS = MappingProxyType(
    {
        "paper": MaskRule(),
        "no-growth": MaskRule(growth="none", average="active"),
        "no-growth-mean": MaskRule(growth="none", average="active", border="mean"),
        "layer-masking": MaskRule(average="active", border="mean"),
        "intersection-mean": MaskRule(sum="intersection", average="active", border="mean"),
    }
)
"""Rules that have a name.

- ``"paper"``: the paper's rule.
- ``"no-growth"``: a position is active only where an active position was.
- ``"no-growth-mean"``, the default of :class:`~captum_ad.ADForward`: the same, with averaged borders.
- ``"layer-masking"``: masks grow, with averaged borders (Balasubramanian and Feizi 2023).
- ``"intersection-mean"``: like ``"layer-masking"``, but a sum is active only where both operands are, so that
  skip connections stop the growth.

All except ``"paper"`` average over active positions.
"""
