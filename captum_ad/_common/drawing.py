"""Shared by all figures: sizes, colors, images in matplotlib's format, figures with or without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from captum_ad._common.extras import needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Image = npt.NDArray[np.float64]

PANEL = 2.4  # inches
COLUMNS = 5  # panels side by side
AD_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc0066", "#5b2a86")
WHITENED = 0.65  # how much to blend the gray pixels outside an explanation with white
OVERSHOOT = 1e-6  # tolerance for rounding errors of resizing, or of undoing a normalization


def displayed(image: Any, what: str) -> Image:
    """An image as an array of floats in [0, 1], shape (H, W, 3); `what` names it in errors.

    Raises
    ------
    ValueError
        If it is not a float array (H, W, 3) or tensor ([1,] 3, H, W) with values in [0, 1].
    """
    if isinstance(image, Tensor):
        shape, floating = tuple(image.shape), image.is_floating_point()
        one = image.detach().cpu().double().numpy()
        one = one[0] if one.ndim == 4 and len(one) == 1 else one
        array = one.transpose(1, 2, 0) if one.ndim == 3 else one
    else:
        array = np.asarray(image)
        shape, floating = array.shape, np.issubdtype(array.dtype, np.floating)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        expected = "an array of shape (H, W, 3) or a tensor of shape (3, H, W) or (1, 3, H, W)"
        raise ValueError(f"{what}: expected {expected}, got {type(image).__name__} {shape}")
    if not floating:
        raise ValueError(f"{what}: expected floats in [0, 1], got integers; divide 0 to 255 by 255")
    if not ((array >= -OVERSHOOT) & (array <= 1 + OVERSHOOT)).all():
        got = f"{array.min():g} to {array.max():g}"
        raise ValueError(f"{what}: expected values in [0, 1], got {got}; undo the model's normalization")
    return np.clip(array.astype(np.float64), 0, 1)


def new_figure(use_pyplot: bool, size: tuple[float, float], rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes; with pyplot a notebook shows it, without it belongs only to the caller."""
    module, maker = ("matplotlib.pyplot", "figure") if use_pyplot else ("matplotlib.figure", "Figure")
    figure = getattr(needed(module, "matplotlib", "metrics"), maker)(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def show(use_pyplot: bool) -> None:
    """Show the figures, if they are pyplot's."""
    if use_pyplot:
        needed("matplotlib.pyplot", "matplotlib", "metrics").show()
