"""Gray levels of more than 8 bits, as from X-rays and microscopes, which Pillow's ``convert`` clips to white."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

BITS = (8, 10, 12, 14, 16)
"""The numbers of bits per gray level that cameras and scanners use."""

Floats = npt.NDArray[np.float64]


def unit_range(values: npt.NDArray[Any]) -> Floats:
    """Scale integer gray levels or colors to 0 to 1.

    Parameters
    ----------
    values : array
        Integers from 0, any shape. White is the smallest of 255, 1023, 4095, 16383 and 65535 that is not below any
        value, because a 16-bit file does not say that it holds, for example, a 12-bit scan.

    Returns
    -------
    array
        float64, same shape.

    Raises
    ------
    ValueError
        If a value is negative or needs more than 16 bits.

    Warns
    -----
    UserWarning
        If white is neither 255 nor 65535.

    Examples
    --------
    >>> unit_range(np.array([0, 65535], np.uint16)).tolist()
    [0.0, 1.0]
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    bits = next((bits for bits in BITS if high < 2**bits), None)
    if low < 0 or bits is None:
        raise ValueError(f"its integers go from {low} to {high}, expected 0 to 65535 at most: scale them first")
    white = 2**bits - 1
    if bits not in (8, 16):
        warnings.warn(f"the largest gray level is {high}: {white} ({bits} bits) is taken for white", stacklevel=2)
    scaled: Floats = values.astype(np.float64) / white
    return scaled


def deep(image: Any) -> bool:
    """Whether a PIL image has more than 8 bits per channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def levels(image: Any) -> Floats:
    """The gray levels of a deep PIL image, float64 from 0 to 1, shape (H, W).

    Raises
    ------
    ValueError
        If integers are out of range (see :func:`unit_range`), or floats are not between 0 and 1.
    """
    values = np.asarray(image)
    if not np.issubdtype(values.dtype, np.floating):
        brightest = int(values.max()) if values.size else 0
        if 0 < brightest < 256:  # a dark scan of more bits, or 8 bits in a larger file: the file does not say
            warnings.warn(f"the largest gray level is {brightest}: 255 (8 bits) is taken for white", stacklevel=2)
        return unit_range(values)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"its gray levels are floats from {low:.4g} to {high:.4g}, expected 0 to 1: scale them first")
    return values.astype(np.float64)
