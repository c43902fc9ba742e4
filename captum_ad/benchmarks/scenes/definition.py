"""A fingerprint of the scenes that a network was trained on: a few small drawings of its classes, as text."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.nn import functional

from captum_ad.benchmarks.scenes.behind import BACKGROUNDS
from captum_ad.benchmarks.scenes.drawing import draw, scene
from captum_ad.benchmarks.scenes.looks import CLASSES

_DEFINING = 4  # the purpose of scenes is part of their seed, see training.py
_ACROSS, _LEVELS = 4, 0xFFF
_ROUNDING = 2  # levels by which results of different processors may differ


@cache
def definition(seed: int) -> str:
    """A drawing of each class, shrunk to 4 × 4 pixels, so that it changes if shapes, colors, places or backgrounds do.

    Parameters
    ----------
    seed : int
        Seed of the classes.

    Returns
    -------
    str
        Three hexadecimal digits for each value of each pixel.
    """
    drawn = [
        draw(scene((_DEFINING, seed, i), classes_seed=seed, background=BACKGROUNDS[i % len(BACKGROUNDS)], label=i))
        for i in range(CLASSES)
    ]
    small = functional.adaptive_avg_pool2d(torch.stack(drawn).double(), _ACROSS)
    return "".join(f"{value:03x}" for value in (small * _LEVELS).round().long().flatten().tolist())


def same_scenes(one: str, other: str) -> bool:
    """Whether two definitions are of the same drawings, up to rounding errors.

    Examples
    --------
    >>> same_scenes(definition(0), definition(0)), same_scenes(definition(0), definition(1))
    (True, False)
    """
    try:
        values = [np.array([int(text[i : i + 3], 16) for i in range(0, len(text), 3)]) for text in (one, other)]
    except ValueError:
        return False
    return len(one) == len(other) and bool((abs(values[0] - values[1]) <= _ROUNDING).all())
