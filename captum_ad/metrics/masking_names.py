"""The names of maskings: what can be compared, and how a rule of one's own is spelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captum_ad._engine.mask_rule import PRESETS, MaskRule
from captum_ad._forwards.baseline_forward import MASKING_VALUES, Masking

DEFAULT = "ad:no-growth-mean"
"""What an ADForward does if no rule is named."""

UNMASKED = "none"
"""What stands in records where nothing is missing."""


def all_maskings() -> list[str]:
    """The names of everything that can be compared: AD's presets, then the painted baselines.

    Examples
    --------
    >>> all_maskings()[:2], "zero" in all_maskings()
    (['ad:paper', 'ad:no-growth'], True)
    """
    return [*(f"ad:{preset}" for preset in PRESETS), *MASKING_VALUES]


def named_masking(name: str) -> str | MaskRule:
    """What a masking's name stands for: a rule after ``"ad:"``, else the baseline's name itself.

    Raises
    ------
    UnknownNameError, ValueError
        If there is no such rule, see :meth:`captum_ad.MaskRule.named`.

    Examples
    --------
    >>> named_masking("ad:growth=none"), named_masking("blur")
    (MaskRule(growth='none', sum='union', average='all', border='zero'), 'blur')
    """
    return MaskRule.named(name.removeprefix("ad:")) if name.startswith("ad:") else name


def masking_name(rule: MaskRule) -> str:
    """The name of a rule in tables and files, which :func:`named_masking` understands.

    Examples
    --------
    >>> masking_name(MaskRule(growth="none")), masking_name(MaskRule(growth="none", average="active"))
    ('ad:growth=none', 'ad:no-growth')
    """
    return f"ad:{rule.name}"


def by_their_names(maskings: Sequence[str | MaskRule] | Mapping[str, Masking] | None) -> dict[str, Masking]:
    """Maskings by name, each once and in the order given; all of them if none are.

    Raises
    ------
    TypeError
        If something without a name is given without one.
    UnknownNameError
        If a rule has no such knob or value.
    ValueError
        If there are fewer than two.
    """
    if isinstance(maskings, str):
        raise TypeError(f"expected a list of maskings, got the string {maskings!r}: write [{maskings!r}, …]")
    named: dict[str, Masking] = {}
    if isinstance(maskings, Mapping):
        named = {name: named_masking(what) if isinstance(what, str) else what for name, what in maskings.items()}
    else:
        for given in all_maskings() if maskings is None else maskings:
            if not isinstance(given, (str, MaskRule)):
                what = type(given).__name__
                raise TypeError(f"expected a masking's name or a MaskRule, got {what}: name it, {{'mine': …}}")
            masking = named_masking(given) if isinstance(given, str) else given
            named[masking if isinstance(masking, str) else masking_name(masking)] = masking
    if len(named) < 2:
        raise ValueError(f"expected two maskings at least, to compare, got {', '.join(map(repr, named)) or 'none'}")
    if UNMASKED in named:
        raise ValueError(f"a masking cannot be called {UNMASKED!r}, which stands for the whole photograph: rename it")
    return named
