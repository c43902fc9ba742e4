"""Maskings by their names on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from captum_ad._common.errors import InputError, UnknownNameError
from captum_ad._engine.mask_rule import PRESETS, MaskRule
from captum_ad._forwards.baseline_forward import Masking
from captum_ad.metrics.masking_names import masking_name, named_masking


def masking_given(given: str, option: str, baselines: Sequence[str]) -> tuple[str, Masking]:
    """The name of a masking in tables and files, and the masking.

    Parameters
    ----------
    given : str
        ``ad:PRESET``, ``ad:KNOB=VALUE,...`` or a baseline.
    option : str
        The option that it was given with, for messages.
    baselines : sequence of str
        The baselines that this option accepts.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such masking.
    """
    if not given.startswith("ad:") and given not in baselines:
        raise UnknownNameError("masking", given, [*(f"ad:{preset}" for preset in PRESETS), *baselines])
    try:
        masking = named_masking(given)
    except UnknownNameError:
        raise
    except ValueError as error:
        raise InputError(f"{option} {given!r}: {error}") from None
    return (masking_name(masking) if isinstance(masking, MaskRule) else given), masking
