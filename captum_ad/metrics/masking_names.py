"""Names of maskings: what can be compared, and how to write a custom rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captum_ad._engine.mask_rule import PRESETS, MaskRule
from captum_ad._forwards.baseline_forward import MASKING_VALUES, Masking

DEFAULT = "ad:no-growth-mean"
"""The masking of an ADForward without a named rule."""

UNMASKED = "none"
"""The name in records of inputs with nothing missing."""


def all_maskings() -> list[str]:
    """The names of everything that can be compared: AD's presets, then the painted baselines.

    Examples
    --------
    >>> all_maskings()[:2], "zero" in all_maskings()
    (['ad:paper', 'ad:no-growth'], True)
    """
    return [*(f"ad:{preset}" for preset in PRESETS), *MASKING_VALUES]


def named_masking(name: str) -> str | MaskRule:
    """The masking of that name: a rule for ``"ad:…"``, else the baseline's name itself.

    Raises
    ------
    UnknownNameError, ValueError
        If the rule is unknown, see :meth:`captum_ad.MaskRule.named`.

    Examples
    --------
    >>> named_masking("ad:growth=none"), named_masking("blur")
    (MaskRule(growth='none', sum='union', average='all', border='zero'), 'blur')
    """
    return MaskRule.named(name.removeprefix("ad:")) if name.startswith("ad:") else name


def masking_name(rule: MaskRule) -> str:
    """The name of a rule in tables and files, which :func:`named_masking` can read.

    Examples
    --------
    >>> masking_name(MaskRule(growth="none")), masking_name(MaskRule(growth="none", average="active"))
    ('ad:growth=none', 'ad:no-growth')
    """
    return f"ad:{rule.name}"


def by_their_names(maskings: Sequence[str | MaskRule] | Mapping[str, Masking] | None) -> dict[str, Masking]:
    """Maskings by name, without duplicates, in the given order. All maskings if None is given.

    Raises
    ------
    TypeError
        If a masking has no name and none is given.
    UnknownNameError
        If a rule has no such setting or value.
    ValueError
        If there are fewer than two.
    """
    if isinstance(maskings, str):
        raise TypeError(f"expected a list of maskings, got the string {maskings!r}: use [{maskings!r}, …]")
    named: dict[str, Masking] = {}
    if isinstance(maskings, Mapping):
        named = {name: named_masking(what) if isinstance(what, str) else what for name, what in maskings.items()}
    else:
        for given in all_maskings() if maskings is None else maskings:
            if not isinstance(given, (str, MaskRule)):
                what = type(given).__name__
                raise TypeError(f"expected a masking's name or a MaskRule, got {what}: give it a name, {{'mine': …}}")
            masking = named_masking(given) if isinstance(given, str) else given
            named[masking if isinstance(masking, str) else masking_name(masking)] = masking
    if len(named) < 2:
        raise ValueError(f"expected at least two maskings to compare, got {', '.join(map(repr, named)) or 'none'}")
    if UNMASKED in named:
        raise ValueError(f"a masking cannot have the name {UNMASKED!r}, which means the whole image: rename it")
    return named
