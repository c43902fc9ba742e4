"""The figure in scenes: its five parts, four looks of each part, and classes as combinations of looks."""

from __future__ import annotations

from functools import cache

import numpy as np

from captum_ad.benchmarks.scenes.pieces import RGB, Look

VERSION = 1
"""Version of the choice of classes; it is part of its seed."""

CLASSES = 12
"""The number of classes."""

PARTS = ("tail", "legs", "body", "wing", "head")
"""The parts of the figure, from back to front."""

PLACES = ((-15.0, 3.0), (0.0, 15.0), (0.0, 1.0), (-3.0, 0.0), (11.0, -12.0))
"""The center of each part relative to the figure's center, in pixels to the right and down."""

_RED: RGB = (0.85, 0.18, 0.2)
_ORANGE: RGB = (0.95, 0.55, 0.1)
_YELLOW: RGB = (0.95, 0.87, 0.25)
_GREEN: RGB = (0.2, 0.65, 0.3)
_CYAN: RGB = (0.25, 0.75, 0.8)
_BLUE: RGB = (0.2, 0.32, 0.8)
_PURPLE: RGB = (0.55, 0.25, 0.65)
_WHITE: RGB = (0.93, 0.93, 0.9)
_BLACK: RGB = (0.12, 0.12, 0.15)

COLORS = (_RED, _ORANGE, _YELLOW, _GREEN, _CYAN, _BLUE, _PURPLE, _WHITE, _BLACK)
"""The colors of parts and of stray shapes alike, so that no color gives away a part."""

LOOKS: tuple[tuple[Look, ...], ...] = (
    (  # tail
        Look("triangle", 6, 9, "bands", (_YELLOW, _RED), turn=80),
        Look("ellipse", 9, 4, "plain", (_BLUE, _BLUE), turn=-25),
        Look("star", 8, 8, "dots", (_GREEN, _WHITE)),
        Look("crescent", 8, 9, "stripes", (_PURPLE, _YELLOW), turn=20),
    ),
    (  # legs
        Look("box", 2.2, 7, "plain", (_ORANGE, _ORANGE), pair=6),
        Look("ellipse", 5, 5, "checks", (_BLACK, _WHITE), pair=6),
        Look("triangle", 4.5, 6.5, "dots", (_CYAN, _RED), pair=5.5),
        Look("half", 11, 5, "stripes", (_GREEN, _BLACK), turn=180),
    ),
    (  # body
        Look("ellipse", 13, 10, "dots", (_RED, _WHITE)),
        Look("box", 11.5, 9, "stripes", (_CYAN, _BLUE)),
        Look("hexagon", 14, 10, "plain", (_YELLOW, _YELLOW)),
        Look("diamond", 17, 13, "checks", (_PURPLE, _ORANGE)),
    ),
    (  # wing
        Look("ellipse", 8, 4.5, "bands", (_WHITE, _GREEN), turn=20),
        Look("triangle", 6.5, 7, "plain", (_BLACK, _BLACK), turn=170),
        Look("crescent", 7, 7, "checks", (_ORANGE, _BLUE), turn=-70),
        Look("half", 8, 4.5, "stripes", (_RED, _YELLOW), turn=10),
    ),
    (  # head
        Look("ellipse", 7.5, 7.5, "plain", (_GREEN, _GREEN), eye=True),
        Look("box", 6.5, 6.5, "bands", (_ORANGE, _PURPLE), eye=True),
        Look("triangle", 9, 8, "checks", (_WHITE, _CYAN), eye=True),
        Look("hexagon", 9, 7, "dots", (_BLUE, _YELLOW), eye=True),
    ),
)
"""The possible looks of each part."""

STRAY = ("ring", "cross", "lens")
"""The shapes of strays, which no part has."""


@cache
def classes(seed: int) -> tuple[tuple[int, ...], ...]:
    """The looks of each class's parts; any two classes differ in at least two parts.

    Parameters
    ----------
    seed : int
        Seed of the choice, at least 0.

    Returns
    -------
    tuple of tuple of int
        For each of the :data:`CLASSES` classes, the index of each part's look.

    Examples
    --------
    >>> len(classes(0)), len(classes(0)[0]), classes(0) == classes(1)
    (12, 5, False)
    """
    generator = np.random.default_rng((VERSION, seed))
    chosen: list[tuple[int, ...]] = []
    while len(chosen) < CLASSES:
        candidate = tuple(int(generator.integers(len(looks))) for looks in LOOKS)
        if all(sum(a != b for a, b in zip(candidate, other)) >= 2 for other in chosen):
            chosen.append(candidate)
    return tuple(chosen)
