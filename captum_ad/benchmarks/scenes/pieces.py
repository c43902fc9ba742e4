"""The pieces of scenes: shapes with textures, defined by formulas and drawn with antialiased edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from captum_ad._common.errors import UnknownNameError

Floats = npt.NDArray[Any]  # float32
RGB = tuple[float, float, float]

SIZE = 64
"""Height and width of a scene, in pixels."""


@dataclass(frozen=True)
class Look:
    """The look of a piece, independent of its place.

    Attributes
    ----------
    shape : str
        One of :data:`SHAPES`.
    width, height : float
        Half of the shape's extent before it is turned, in pixels.
    texture : str
        One of :data:`TEXTURES`.
    colors : tuple of RGB
        The colors of the ground and of the texture, in [0, 1].
    turn : float
        Rotation of the shape in degrees, clockwise.
    pair : float
        Distance in pixels of two mirrored copies to the left and right of the center; 0 for a single one.
    eye : bool
        Whether an eye is painted on it.
    """

    shape: str
    width: float
    height: float
    texture: str
    colors: tuple[RGB, RGB]
    turn: float = 0.0
    pair: float = 0.0
    eye: bool = False

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UnknownNameError("shape", self.shape, SHAPES)
        if self.texture not in TEXTURES:
            raise UnknownNameError("texture", self.texture, TEXTURES)


@dataclass(frozen=True)
class Piece:
    """A look at a place in a scene.

    Attributes
    ----------
    look : Look
        Its look.
    x, y : float
        Its center, in pixels from the upper left corner.
    angle : float
        Rotation in radians, clockwise.
    scale : float
        Scale of its size; a negative one mirrors it from left to right.
    tint : float
        A value that is added to all its colors.
    """

    look: Look
    x: float
    y: float
    angle: float
    scale: float
    tint: float


@dataclass(frozen=True)
class Layer:
    """The pixels of a piece, in a window that contains all of them.

    Attributes
    ----------
    window : tuple of slice
        Rows and columns of the scene.
    coverage : array
        The share of each pixel that the piece covers, float32 in [0, 1], shape (h, w).
    color : array
        Its colors, float32 in [0, 1], shape (3, h, w).
    """

    window: tuple[slice, slice]
    coverage: Floats
    color: Floats

    def over(self, image: Floats) -> None:
        """Draw this over an image of shape (..., 3, SIZE, SIZE), in place.

        Where the coverage is 0 the image does not change, and where it is 1 the image is replaced, both bit for bit.
        """
        below = image[..., self.window[0], self.window[1]]
        below *= 1 - self.coverage
        below += self.coverage * self.color


def rendered(piece: Piece) -> Layer:
    """The pixels of a piece.

    Parameters
    ----------
    piece : Piece
        The piece; it may extend beyond the scene.

    Returns
    -------
    Layer
        Its window is empty if the piece is outside the scene.
    """
    look, size = piece.look, abs(piece.scale)
    reach = size * (math.hypot(look.width, look.height) + look.pair) + 2
    rows, columns = _span(piece.y, reach), _span(piece.x, reach)
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - piece.y)
    dx = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - piece.x)
    u, v = _turned(dx, dy, piece.angle, size)
    if piece.scale < 0:
        u = -u
    if look.pair:
        u = np.abs(u) - np.float32(look.pair)
    u, v = _turned(u, v, math.radians(look.turn), 1.0)
    distance = SHAPES[look.shape](u, v, look.width, look.height)
    coverage = np.clip(0.5 - distance * np.float32(size), 0, 1)
    ground, paint = (
        np.clip(np.array(c, np.float32) + np.float32(piece.tint), 0, 1)[:, None, None] for c in look.colors
    )
    color = ground + (paint - ground) * TEXTURES[look.texture](u, v)
    if look.eye:
        away = np.hypot(u - np.float32(0.25 * look.width), v + np.float32(0.2 * look.height))
        color += (1 - color) * np.clip(3 - away, 0, 1)
        color *= 1 - np.clip(1.9 - away, 0, 1)
    return Layer((rows, columns), coverage, color)


def _span(middle: float, reach: float) -> slice:
    start = min(SIZE, max(0, math.floor(middle - reach)))
    return slice(start, max(start, min(SIZE, math.ceil(middle + reach))))


def _turned(x: Floats, y: Floats, angle: float, scale: float) -> tuple[Floats, Floats]:
    """The coordinates in a frame that is rotated by an angle and scaled by a factor."""
    cosine, sine = np.float32(math.cos(angle) / scale), np.float32(math.sin(angle) / scale)
    return cosine * x + sine * y, cosine * y - sine * x


# Shapes: approximate signed distance of (u, v) from the outline, in pixels, negative inside; w, h are half extents.


def _ellipse(u: Floats, v: Floats, w: float, h: float) -> Floats:
    distance: Floats = (np.sqrt((u / w) ** 2 + (v / h) ** 2) - 1) * min(w, h)
    return distance


def _box(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(np.abs(u) - w, np.abs(v) - h)


def _triangle(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(v - h, (2 * h * np.abs(u) - w * (v + h)) / math.hypot(2 * h, w))


def _diamond(u: Floats, v: Floats, w: float, h: float) -> Floats:
    distance: Floats = (np.abs(u) * h + np.abs(v) * w - w * h) / math.hypot(w, h)
    return distance


def _hexagon(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(np.abs(v) - h, (np.abs(u) * h + np.abs(v) * (w / 2) - w * h) / math.hypot(h, w / 2))


def _crescent(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(_ellipse(u, v, w, h), -_ellipse(u - 0.5 * w, v, 0.8 * w, 0.8 * h))


def _half(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(_ellipse(u, v + h, w, 2 * h), -h - v)


def _star(u: Floats, v: Floats, w: float, h: float) -> Floats:
    radius, angle = np.hypot(u / w, v / h), np.arctan2(v / h, u / w)
    distance: Floats = (radius - (0.75 + 0.25 * np.cos(5 * angle))) * (0.8 * min(w, h))
    return distance


def _ring(u: Floats, v: Floats, w: float, h: float) -> Floats:
    distance: Floats = np.abs(_ellipse(u, v, w, h) + 0.2 * min(w, h)) - 0.2 * min(w, h)
    return distance


def _cross(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.minimum(_box(u, v, w, h / 3), _box(u, v, w / 3, h))


def _lens(u: Floats, v: Floats, w: float, h: float) -> Floats:
    return np.maximum(_ellipse(u, v - h, 1.4 * w, 2 * h), _ellipse(u, v + h, 1.4 * w, 2 * h))


SHAPES: Mapping[str, Callable[[Floats, Floats, float, float], Floats]] = MappingProxyType(
    {
        "ellipse": _ellipse,
        "box": _box,
        "triangle": _triangle,
        "diamond": _diamond,
        "hexagon": _hexagon,
        "crescent": _crescent,
        "half": _half,
        "star": _star,
        "ring": _ring,
        "cross": _cross,
        "lens": _lens,
    }
)
"""Shapes by name."""

# Textures: the share of the second color at (u, v), from 0 to 1. One wave is five pixels long.

_WAVE = np.float32(2 * math.pi / 5)


def _plain(u: Floats, v: Floats) -> Floats:
    return np.zeros_like(u)


def _stripes(u: Floats, v: Floats) -> Floats:
    return np.clip(0.5 + 1.5 * np.sin(_WAVE * u), 0, 1)


def _bands(u: Floats, v: Floats) -> Floats:
    return np.clip(0.5 + 1.5 * np.sin(_WAVE * v), 0, 1)


def _checks(u: Floats, v: Floats) -> Floats:
    return np.clip(0.5 + 2 * np.sin(0.8 * _WAVE * u) * np.sin(0.8 * _WAVE * v), 0, 1)


def _dots(u: Floats, v: Floats) -> Floats:
    return np.clip(1.5 * (np.cos(_WAVE * u) + np.cos(_WAVE * v) - 0.5), 0, 1)


TEXTURES: Mapping[str, Callable[[Floats, Floats], Floats]] = MappingProxyType(
    {"plain": _plain, "stripes": _stripes, "bands": _bands, "checks": _checks, "dots": _dots}
)
"""Textures by name."""
