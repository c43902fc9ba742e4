"""Superpixels: feature masks that follow the contours of a photograph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from captum_ad.errors import UnknownNameError
from captum_ad.extras import needed

Pixels = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def superpixels(image: Any, method: str = "slic", n_segments: int = 50, **options: Any) -> Tensor:
    """Labels that group an image's pixels, for the ``feature_mask=`` of Captum's attributors.

    Parameters
    ----------
    image : PIL.Image.Image, array or Tensor
        One image: PIL of any mode, an array of shape (H, W, 3), or a tensor of shape (3, H, W).
        Integers count as 0 to 255, floats as 0 to 1; floats outside that (a normalised input) are
        rescaled to it.
    method : {"slic", "quickshift", "felzenszwalb", "grid"}
        The segmentation of that name in ``skimage.segmentation``, or a grid of rectangles.
    n_segments : int
        About how many superpixels. ``"quickshift"`` and ``"felzenszwalb"`` find their number
        themselves, through `options`.
    **options
        Passed to scikit-image's function, e.g. ``compactness=20`` for slic.

    Returns
    -------
    Tensor
        int64 labels 0 to n-1, every one in use, shape (1, 1, H, W), on the CPU.

    Raises
    ------
    UnknownNameError
        If there is no such method.
    ValueError
        If the image has another shape or holds NaN or Inf, or `n_segments` is no positive integer.
    ImportError
        If scikit-image is missing; ``"grid"`` does without.

    Examples
    --------
    >>> superpixels(np.zeros((4, 4, 3)), "grid", n_segments=4)[0, 0]
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3],
            [2, 2, 3, 3]])
    """
    if method not in _METHODS:
        raise UnknownNameError("superpixel method", method, _METHODS)
    if isinstance(n_segments, bool) or not isinstance(n_segments, int) or n_segments < 1:
        raise ValueError(f"n_segments must be a positive integer, got {n_segments!r}")
    found = _METHODS[method](_pixels(image), n_segments, options)
    labels = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    return torch.from_numpy(labels.astype(np.int64))[None, None]


def _pixels(image: Any) -> Pixels:
    """Any accepted image as floats in [0, 1], shape (H, W, 3)."""
    if isinstance(image, Tensor):
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"expected an image tensor of shape (3, H, W), got {tuple(image.shape)}")
        tensor = image.detach().cpu()
        array = (tensor.double() if tensor.is_floating_point() else tensor).permute(1, 2, 0).numpy()
    elif isinstance(image, (str, os.PathLike)):
        raise ValueError(f"expected an image, got the path {str(image)!r}: open it, with PIL.Image.open(path)")
    else:
        array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
        if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise ValueError(f"expected an image array of shape (H, W, 3), got {array.shape}")
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ValueError(f"expected an image of integers or floats, got {array.dtype}")
    if np.issubdtype(array.dtype, np.integer):
        return np.clip(array.astype(np.float64) / 255, 0, 1)
    if not np.isfinite(array).all():
        raise ValueError("the image holds NaN or Inf")
    pixels: Pixels = array.astype(np.float64)
    low, high = pixels.min(), pixels.max()
    return pixels if low >= 0 and high <= 1 else (pixels - low) / ((high - low) or 1.0)


def _slic(pixels: Pixels, n_segments: int, options: dict[str, Any]) -> Labels:
    chosen = {"compactness": 10.0, "sigma": 1.0, "start_label": 0, **options}
    return np.asarray(_segmentation().slic(pixels, n_segments=n_segments, channel_axis=-1, **chosen))


def _quickshift(pixels: Pixels, n_segments: int, options: dict[str, Any]) -> Labels:
    chosen = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2, **options}  # as in LIME's image explainer
    return np.asarray(_segmentation().quickshift(pixels, channel_axis=-1, **chosen))


def _felzenszwalb(pixels: Pixels, n_segments: int, options: dict[str, Any]) -> Labels:
    smallest = max(1, pixels.shape[0] * pixels.shape[1] // 200)  # half a per cent of the image
    chosen = {"scale": 200, "sigma": 0.8, "min_size": smallest, **options}
    return np.asarray(_segmentation().felzenszwalb(pixels, channel_axis=-1, **chosen))


def _grid(pixels: Pixels, n_segments: int, options: dict[str, Any]) -> Labels:
    if options:
        raise TypeError(f"superpixel method 'grid' takes no options, got {', '.join(options)}")
    height, width = pixels.shape[:2]
    rows = min(height, max(1, round((n_segments * height / width) ** 0.5)))
    columns = min(width, max(1, round(n_segments / rows)))
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return np.asarray(row[:, None] * columns + column[None, :])


def _segmentation() -> Any:
    try:
        return needed("skimage", "scikit-image", "superpixels").segmentation
    except ImportError as error:
        raise ImportError(f'{error}; the method "grid" does without') from error.__cause__


_METHODS: Mapping[str, Callable[[Pixels, int, dict[str, Any]], Labels]] = MappingProxyType(
    {"slic": _slic, "quickshift": _quickshift, "felzenszwalb": _felzenszwalb, "grid": _grid}
)
