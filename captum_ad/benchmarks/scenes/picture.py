"""A figure of scenes: each without one of its parts, and the pixels that a masking hides instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captum_ad._common.extras import needed
from captum_ad.benchmarks.scenes.drawing import Scene, draw
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.masks import MASK_SHAPES, hidden_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HIDDEN = (0.93, 0.1, 0.55)
_PANEL = 1.7  # inches


def plot_scenes(scenes: Sequence[Scene], *, grow: int = 2) -> Figure:
    """Plot scenes, one per row: whole, without a part, and the pixels that are hidden for it with each mask shape.

    Parameters
    ----------
    scenes : sequence of Scene
        The first one lacks its tail, the next one its legs, and so on.
    grow : int
        See :func:`~captum_ad.benchmarks.scenes.masks.hidden_pixels`.

    Returns
    -------
    Figure
        A figure that does not belong to pyplot.

    Raises
    ------
    ValueError
        If there are no scenes.
    ImportError
        If matplotlib is missing.
    """
    if len(scenes) == 0:
        raise ValueError("scenes is empty: give at least one")
    columns = 2 + len(MASK_SHAPES)
    figure: Figure = needed("matplotlib.figure", "matplotlib", "metrics").Figure(
        figsize=(columns * _PANEL, len(scenes) * _PANEL + 0.3), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(len(scenes), columns, squeeze=False)
    for i, (one, row) in enumerate(zip(scenes, axes)):
        part = i % len(PARTS)
        whole = _pixels(draw(one))
        _show(row[0], whole, "whole" if i == 0 else "")
        row[0].set_ylabel(f"without {PARTS[part]}", fontsize=11)
        _show(row[1], _pixels(draw(one, [k != part for k in range(len(PARTS))])), "left out" if i == 0 else "")
        for axis, shape in zip(row[2:], MASK_SHAPES):
            hidden = hidden_pixels(one, shape, grow=grow)[part].numpy()
            faded = 0.45 * whole + 0.55
            faded[hidden] = 0.35 * whole[hidden] + 0.65 * np.array(_HIDDEN)
            _show(axis, faded, f"hidden: {shape}" if i == 0 else "")
    return figure


def _pixels(image: Tensor) -> Any:
    return image.permute(1, 2, 0).numpy()


def _show(axis: Any, pixels: Any, title: str) -> None:
    axis.imshow(pixels, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if title:
        axis.set_title(title, fontsize=11)
