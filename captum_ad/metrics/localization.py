"""Localization: whether an attribution points at the known location of the object."""

from __future__ import annotations

import numbers

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.metrics.places import Box, Grid, cell_masks, object_mask, whole_number


def pointing_game(attribution: Tensor, inside: Tensor | Box, *, tolerance: float = 0.0) -> bool:
    """Whether the maximum of an attribution is on the object: the pointing game of Zhang et al. 2018.

    From *Top-Down Neural Attention by Excitation Backprop* (IJCV). Chance is about the object's fraction of the image.

    Parameters
    ----------
    attribution : Tensor
        Shape (H, W), (C, H, W) or (1, C, H, W); channels are summed.
    inside : Tensor or (left, top, right, bottom)
        The object: a mask, bool, shape (H, W), or a box in pixels, right and bottom exclusive.
    tolerance : float
        How far from the object a hit may be, in pixels between pixel centers. The paper uses 15, at the size of its
        photographs. TorchRay's 15 only accepts distances below 15; here, 15 itself is a hit too.

    Returns
    -------
    bool
        If several positions share the maximum, one of them on the object is enough, as in Quantus. A constant
        attribution is therefore a hit; :func:`energy_pointing_game` does not reward it.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid, the object is empty, or the attribution contains NaN or Inf.

    Examples
    --------
    >>> attribution = torch.zeros(8, 8)
    >>> attribution[3, 6] = 1
    >>> pointing_game(attribution, (4, 2, 8, 6)), pointing_game(attribution, (0, 2, 5, 6))
    (True, False)
    >>> pointing_game(attribution, (0, 2, 5, 6), tolerance=2)
    True
    """
    checked_tolerance(tolerance)
    values = of_pixels(attribution)
    mask = object_mask(inside, values)
    highest = values == values.max()
    if bool((mask & highest).any()) or not tolerance:
        return bool((mask & highest).any())
    highest_at, object_at = (_outline(pixels).nonzero().double() for pixels in (highest, mask))
    return float(torch.cdist(highest_at, object_at).min()) <= tolerance


def energy_pointing_game(attribution: Tensor, inside: Tensor | Box) -> float:
    """Fraction of the positive attribution that is on the object, 0 to 1. Higher is better.

    For boxes, this is the energy-based pointing game of Wang et al. 2020, *Score-CAM* (CVPR workshops); for masks, the
    inside–total relevance ratio of Kohlbrenner et al. 2020, which is ``AttributionLocalisation`` in Quantus.
    A constant attribution gets the object's fraction of the image.

    Parameters
    ----------
    attribution : Tensor
        Shape (H, W), (C, H, W) or (1, C, H, W); channels are summed, and then negative values count as 0.
    inside : Tensor or (left, top, right, bottom)
        As for :func:`pointing_game`.

    Returns
    -------
    float
        The fraction; 0 if no attribution is positive, as in Quantus.

    Raises
    ------
    ValueError, TypeError
        As :func:`pointing_game`.

    Examples
    --------
    >>> attribution = torch.tensor([[3.0, 1.0], [-5.0, 0.0]])
    >>> energy_pointing_game(attribution, (0, 0, 1, 2))
    0.75
    """
    values = of_pixels(attribution)
    mask = object_mask(inside, values)
    positive = values.clamp(min=0)
    # scale first, because sums of large values may overflow
    positive = positive / positive.max().clamp(min=torch.finfo(positive.dtype).tiny)
    on, off = (float(positive[pixels].sum()) for pixels in (mask, ~mask))
    return on / (on + off) if on else 0.0


def grid_pointing_game(attribution: Tensor, cell: int, grid: Grid = (2, 2)) -> float:
    """Fraction of the positive attribution that is in the cell of the class, 0 to 1. Higher is better.

    This is the grid pointing game of Rao et al. 2022, *Towards Better Understanding Attribution Methods* (CVPR), after
    Böhle et al. 2021: one of several classes in a collage is explained. Chance, which a constant attribution gets, is
    one over the number of cells. :func:`make_collages` makes collages.

    Parameters
    ----------
    attribution : Tensor
        Attribution of the collage, as for :func:`energy_pointing_game`.
    cell : int
        The cell of the explained class, counted from 0 in reading order.
    grid : (rows, columns)
        Shape of the grid.

    Returns
    -------
    float
        The fraction; 0 if no attribution is positive.

    Raises
    ------
    ValueError, TypeError
        If the cell is out of range, the grid does not fit, or as in :func:`pointing_game`.

    Examples
    --------
    >>> grid_pointing_game(torch.tensor([[3.0, 1.0], [-5.0, 0.0]]), cell=1)
    0.25
    """
    values = of_pixels(attribution)
    masks = cell_masks(values.shape[0], values.shape[1], grid).to(values.device)
    index = whole_number(cell, "cell")
    if not 0 <= index < len(masks):
        raise ValueError(f"cell {index} is out of range: a {grid[0]} × {grid[1]} grid has cells 0 to {len(masks) - 1}")
    return energy_pointing_game(values, masks[index])


def of_pixels(attribution: Tensor) -> Tensor:
    """An attribution summed over its channels, float64, shape (H, W).

    Raises
    ------
    ValueError, TypeError
        If its shape is not (H, W), (C, H, W) or (1, C, H, W), or it contains NaN or Inf.
    """
    if not isinstance(attribution, Tensor):
        raise TypeError(f"the attribution must be a Tensor, got {type(attribution).__name__}")
    shape = tuple(attribution.shape)
    if not 2 <= len(shape) <= 4 or (len(shape) == 4 and shape[0] != 1) or 0 in shape:
        raise ValueError(
            f"the attribution has shape {shape}, expected (H, W), (C, H, W) or (1, C, H, W): pass one image at a time"
        )
    values = attribution.detach().double().reshape(-1, *shape[-2:]).sum(0)
    if not bool(values.isfinite().all()):
        raise ValueError("the attribution contains NaN or Inf: check the attributor's input")
    return values


def checked_tolerance(tolerance: float) -> None:
    """Check that a tolerance is a finite number of pixels of at least 0.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance must be a number of pixels, 0 or more, got {tolerance!r}")


def _outline(mask: Tensor) -> Tensor:
    """The pixels of a mask with a direct neighbor outside. They include the nearest one to any pixel outside."""
    surrounded = F.pad(mask, (1, 1, 1, 1))
    up, down, left, right = (
        surrounded[rows, columns]
        for rows, columns in (
            (slice(0, -2), slice(1, -1)),
            (slice(2, None), slice(1, -1)),
            (slice(1, -1), slice(0, -2)),
            (slice(1, -1), slice(2, None)),
        )
    )
    return mask & ~(up & down & left & right)
