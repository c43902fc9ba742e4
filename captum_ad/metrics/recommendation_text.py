"""Format numbers, intervals and names for the text of a recommendation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captum_ad._engine.mask_rule import MaskRule
from captum_ad._forwards.baseline_forward import Masking
from captum_ad.metrics.statistics import is_ad


def number(value: float, *, signed: bool = False) -> str:
    """Two decimals without a leading zero, as in .74, +.10, −.03 and 1.00."""
    rounded = round(float(value), 2) + 0.0
    text = f"{abs(rounded):.2f}".removeprefix("0") if abs(rounded) < 1 else f"{abs(rounded):.2f}"
    sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
    return sign + text


def interval(low: float, high: float, *, signed: bool = False) -> str:
    """An interval in brackets, with a leading space; empty if it is NaN."""
    return "" if np.isnan(low) else f" ({number(low, signed=signed)} to {number(high, signed=signed)})"


def listed(names: Sequence[str]) -> str:
    """Join two or more names, as in "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def call(name: str, masking: Masking) -> str:
    """The Python expression that creates the forward."""
    if isinstance(masking, MaskRule):
        return f"ADForward(model, {masking.name!r})"
    if isinstance(masking, str) and is_ad(masking):
        return f"ADForward(model, {masking.removeprefix('ad:')!r})"
    if isinstance(masking, (str, float, int)):
        return f"BaselineForward(model, {masking!r})"
    return f"the masking {name!r}"
