"""Backgrounds of scenes: smooth, textured, or crops of photographs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad.benchmarks.scenes.pieces import SIZE, Floats

BACKGROUNDS = ("smooth", "textured")
"""The names of backgrounds."""

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of the files in a folder that are used as photographs."""


@dataclass(frozen=True)
class Background:
    """The background of a scene.

    Attributes
    ----------
    kind : str
        ``"smooth"``: one color fading into another. ``"textured"``: the same with gratings and cloudy noise on top.
        Anything else is the path of a photograph, of which a square crop is shown.
    seed : int
        Seed of the colors and noise, or of the crop.
    """

    kind: str
    seed: int

    def pixels(self) -> Floats:
        """The background itself, float32 in [0, 1], shape (3, SIZE, SIZE); a new array."""
        generator = np.random.default_rng(self.seed)
        if self.kind not in BACKGROUNDS:
            return _crop(_photograph(self.kind), generator)
        smooth = _fading(generator)
        return smooth if self.kind == "smooth" else _textured(smooth, generator)


@dataclass(frozen=True)
class Backdrop:
    """The source of a scene's background.

    Parameters
    ----------
    source : str or Path
        One of :data:`BACKGROUNDS`, or a folder with photographs.

    Raises
    ------
    UnknownNameError
        If there is neither a background nor a folder of this name.
    ValueError
        If the folder has no photographs.
    """

    source: str | Path

    def __post_init__(self) -> None:
        if self.source in BACKGROUNDS:
            return
        folder = Path(self.source)
        if not folder.is_dir():
            if isinstance(self.source, Path):
                raise ValueError(f"{str(folder)!r} is not a folder: give a folder of photographs")
            raise UnknownNameError("background", str(self.source), [*BACKGROUNDS, "a folder of photographs"])
        if not _photographs(str(folder)):
            raise ValueError(f"the folder {str(folder)!r} has no photographs: expected {', '.join(ENDINGS)} files")

    def drawn(self, generator: np.random.Generator) -> Background:
        """Draw one background."""
        kind = str(self.source)
        if self.source not in BACKGROUNDS:
            files = _photographs(kind)
            kind = files[int(generator.integers(len(files)))]
        return Background(kind, int(generator.integers(2**31)))


def _fading(generator: np.random.Generator) -> Floats:
    first, second = generator.uniform(0.15, 0.85, (2, 3, 1, 1)).astype(np.float32)
    angle = generator.uniform(0, 2 * math.pi)
    place = _along(angle) / SIZE + np.float32(0.5)
    fading: Floats = first + (second - first) * np.clip(place, 0, 1)
    return fading


def _textured(smooth: Floats, generator: np.random.Generator) -> Floats:
    for _ in range(2):
        wave = 2 * math.pi / generator.uniform(5, 16)
        grating = np.sin(np.float32(wave) * _along(generator.uniform(0, 2 * math.pi)))
        smooth += generator.uniform(-0.1, 0.1, (3, 1, 1)).astype(np.float32) * grating
    coarse = generator.normal(0, 0.12, (3, 9, 9)).astype(np.float32)
    weights = _interpolation()
    smooth += weights @ coarse @ weights.T
    smooth += generator.normal(0, 0.03, (1, SIZE, SIZE)).astype(np.float32)
    clipped: Floats = np.clip(smooth, 0, 1)
    return clipped


def _along(angle: float) -> Floats:
    """The coordinate of each pixel along a direction, from the center, in pixels."""
    place = np.arange(SIZE, dtype=np.float32) - np.float32((SIZE - 1) / 2)
    return np.float32(math.cos(angle)) * place + np.float32(math.sin(angle)) * place[:, None]


@cache
def _interpolation() -> Floats:
    """Weights (SIZE, 9) that interpolate nine values linearly."""
    place = np.linspace(0, 8, SIZE, dtype=np.float32)
    weights: Floats = np.clip(1 - np.abs(place[:, None] - np.arange(9, dtype=np.float32)), 0, 1)
    return weights


@lru_cache(maxsize=4)
def _photographs(folder: str) -> tuple[str, ...]:
    return tuple(sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in ENDINGS))


@lru_cache(maxsize=256)
def _photograph(path: str) -> Any:
    """A photograph, no larger than needed, as uint8 (H, W, 3)."""
    pillow = needed("PIL.Image", "pillow", "benchmarks")
    try:
        with pillow.open(path) as image:
            image.thumbnail((4 * SIZE, 4 * SIZE))
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"cannot read the photograph {path!r}: {error}; remove it from the folder") from None


def _crop(photograph: Any, generator: np.random.Generator) -> Floats:
    """A random square crop of a photograph, scaled to a scene's size."""
    pillow = needed("PIL.Image", "pillow", "benchmarks")
    height, width = photograph.shape[:2]
    side = generator.uniform(0.4, 1.0) * min(height, width)
    left, top = generator.uniform(0, width - side), generator.uniform(0, height - side)
    crop = pillow.fromarray(photograph).resize((SIZE, SIZE), box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.asarray(crop, np.float32).transpose(2, 0, 1) / np.float32(255))
