"""Scenes: a figure of five parts, each of which can really be left out of the drawing.

The idea is that of FunnyBirds (Hesse, Schaub-Meyer and Roth 2023, ICCV): if a part can be removed from the scene
itself, the effect of masking it can be compared with the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_ad.benchmarks.scenes.behind import Backdrop, Background
from captum_ad.benchmarks.scenes.looks import CLASSES, COLORS, LOOKS, PARTS, PLACES, STRAY, classes
from captum_ad.benchmarks.scenes.pieces import SIZE, Floats, Layer, Look, Piece, rendered
from captum_ad.metrics.given import checked_seed

MEAN, STD = 0.5, 0.25
"""The normalization of the networks' input, see :func:`normalized`."""

_ALL = (True,) * len(PARTS)

Present = Sequence[bool] | Tensor
"""Which parts are present, from back to front: bool, shape (5,), or (N, 5) for several drawings."""


@dataclass(frozen=True)
class Scene:
    """The description of a scene.

    Attributes
    ----------
    label : int
        The class of the figure.
    background : Background
        The background.
    strays : tuple of Piece
        Shapes behind the figure that do not belong to it, from back to front.
    parts : tuple of Piece
        The parts of the figure, in the order of :data:`~captum_ad.benchmarks.scenes.looks.PARTS`, from back to front.
    """

    label: int
    background: Background
    strays: tuple[Piece, ...]
    parts: tuple[Piece, ...]


def scene(
    seed: int | tuple[int, ...], *, classes_seed: int = 0, background: str | Path = "smooth", label: int | None = None
) -> Scene:
    """A random scene.

    Parameters
    ----------
    seed : int or tuple of int
        Seed of the class, the figure's pose, the background and the strays.
    classes_seed : int
        Seed of the classes, see :func:`~captum_ad.benchmarks.scenes.looks.classes`.
    background : str or Path
        ``"smooth"``, ``"textured"``, or a folder of photographs, of which crops are shown.
    label : int, optional
        The class; by default random.

    Returns
    -------
    Scene
        The same scene for the same arguments.

    Raises
    ------
    ValueError
        If there is no such class or background, a seed is invalid, or the folder has no photographs.

    Examples
    --------
    >>> one = scene(7)
    >>> one == scene(7), draw(one).shape
    (True, torch.Size([3, 64, 64]))
    """
    backdrop = Backdrop(background)
    if label is not None and not 0 <= label < CLASSES:
        raise ValueError(f"label must be from 0 to {CLASSES - 1}, got {label!r}")
    for one in seed if isinstance(seed, tuple) else (seed,):
        checked_seed(one)
    generator = np.random.default_rng(seed)
    drawn = int(generator.integers(CLASSES))
    label = drawn if label is None else label
    parts = _figure(classes(checked_seed(classes_seed))[label], generator)
    strays = tuple(_stray(generator) for _ in range(int(generator.integers(3, 7))))
    return Scene(label, backdrop.drawn(generator), strays, parts)


def draw(scene: Scene, present: Present = _ALL) -> Tensor:
    """Draw a scene with the parts that are present; where a part is left out, what is behind it is visible.

    Parameters
    ----------
    scene : Scene
        The scene.
    present : sequence of bool or Tensor
        Which parts are present, shape (5,), or (N, 5) for N images at once.

    Returns
    -------
    Tensor
        float32 in [0, 1], shape (3, 64, 64) or (N, 3, 64, 64).

    Raises
    ------
    ValueError
        If `present` has another shape.
    """
    flags = _flags(present)
    empty, layers = _layers(scene)
    images = np.repeat(empty[None], len(flags) if flags.ndim == 2 else 1, 0)
    for i, layer in enumerate(layers):
        if flags.ndim == 1:
            if flags[i]:
                layer.over(images)
        elif flags[:, i].any():
            chosen = images[flags[:, i]]
            layer.over(chosen)
            images[flags[:, i]] = chosen
    drawn = torch.from_numpy(images)
    return drawn if flags.ndim == 2 else drawn[0]


def visible(scene: Scene, part: int, present: Present = _ALL) -> Tensor:
    """The pixels where a part is visible: it covers them at least partly, and no part in front covers them fully.

    Parameters
    ----------
    scene : Scene
        The scene.
    part : int
        The index of the part, 0 is the rearmost.
    present : sequence of bool or Tensor
        Which parts are present, shape (5,); `part` itself counts as present.

    Returns
    -------
    Tensor
        bool, shape (64, 64). Everywhere else the drawings with and without the part are equal, bit for bit.

    Raises
    ------
    ValueError
        If there is no such part, or `present` has another shape.
    """
    flags = _flags(present)
    if flags.ndim != 1:
        raise ValueError(f"present must have shape ({len(PARTS)},), got {flags.shape}")
    if not 0 <= part < len(PARTS):
        raise ValueError(f"part must be from 0 to {len(PARTS) - 1}, got {part!r}")
    layers = _layers(scene)[1]
    seen = np.zeros((SIZE, SIZE), bool)
    seen[layers[part].window] = layers[part].coverage > 0
    for i in range(part + 1, len(PARTS)):
        if flags[i]:
            seen[layers[i].window] &= layers[i].coverage < 1
    return torch.from_numpy(seen)


def normalized(images: Tensor) -> Tensor:
    """Images as input of the networks: 0 is medium gray."""
    return (images - MEAN) / STD


@lru_cache(maxsize=64)
def _layers(scene: Scene) -> tuple[Floats, tuple[Layer, ...]]:
    """The scene without its figure, and the figure's parts."""
    empty = scene.background.pixels()
    for stray in scene.strays:
        rendered(stray).over(empty)
    return empty, tuple(rendered(part) for part in scene.parts)


def _flags(present: Present) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    flags = np.asarray(present, dtype=bool)
    if flags.ndim not in (1, 2) or flags.shape[-1] != len(PARTS):
        raise ValueError(
            f"present must say for each of the {len(PARTS)} parts whether it is present, shape ({len(PARTS)},) or "
            f"(N, {len(PARTS)}), got {flags.shape}"
        )
    return flags


def _figure(looks: tuple[int, ...], generator: np.random.Generator) -> tuple[Piece, ...]:
    x, y = SIZE / 2 + generator.uniform(-7, 7), SIZE / 2 + generator.uniform(-6, 6)
    angle, size = generator.uniform(-0.35, 0.35), generator.uniform(0.85, 1.15)
    mirror = 1 if generator.random() < 0.5 else -1
    parts = []
    for look, choices, (right, down) in zip(looks, LOOKS, PLACES):
        dx, dy = (right + generator.uniform(-1.5, 1.5)) * size * mirror, (down + generator.uniform(-1.5, 1.5)) * size
        place = x + math.cos(angle) * dx - math.sin(angle) * dy, y + math.sin(angle) * dx + math.cos(angle) * dy
        turn, scale = angle + generator.uniform(-0.2, 0.2), mirror * size * generator.uniform(0.9, 1.1)
        parts.append(Piece(choices[look], *place, turn, scale, generator.uniform(-0.08, 0.08)))
    return tuple(parts)


def _stray(generator: np.random.Generator) -> Piece:
    first, second = (COLORS[int(i)] for i in generator.integers(len(COLORS), size=2))
    width, height = generator.uniform(3, 6, 2)
    texture = ("plain", "stripes", "dots")[int(generator.integers(3))]
    look = Look(STRAY[int(generator.integers(len(STRAY)))], width, height, texture, (first, second))
    x, y = generator.uniform(0, SIZE, 2)
    return Piece(look, x, y, generator.uniform(-math.pi, math.pi), 1.0, generator.uniform(-0.08, 0.08))
