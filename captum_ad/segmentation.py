"""Superpixels: feature masks that follow the contours of a photograph."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._common.pixels import deep, unit_range

Pixels = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def superpixels(
    image: Any, method: str = "slic", n_segments: int = 50, *, spatial_dims: int | None = None, **options: Any
) -> Tensor:
    """Group an image's pixels into superpixels, for the ``feature_mask=`` of Captum's attributors.

    Pass the model's input, because the feature mask must have its size. Pass a photograph only if the model takes it
    unresized. Volumes are split into supervoxels, series into equal pieces.

    Parameters
    ----------
    image : PIL.Image.Image, array or Tensor
        One image: PIL of any mode, an array of shape (H, W) or (H, W, 1|3|4), or a tensor of shape (H, W) or
        (1|3|4, H, W). Or a batch of model inputs: a tensor of shape (N, C, H, W) or (N, C, D, H, W), or any other shape
        with `spatial_dims`. A fourth channel is transparency and is dropped; other numbers of channels are averaged.
        Integers range from 0 to 255, or to 1023, 4095, 16383 or 65535 if some are larger; floats from 0 to 1. Floats
        outside that range (a normalized input) and integers with negative values are rescaled to it.
    method : {"slic", "quickshift", "felzenszwalb", "grid"}
        The function of that name in ``skimage.segmentation``, or a grid of rectangles. Volumes take slic or grid.
    n_segments : int
        Approximate number of superpixels. ``"quickshift"`` and ``"felzenszwalb"`` ignore it; `options` control
        their number.
    spatial_dims : int, optional
        How many of a tensor's last dimensions are spatial, if its shape is ambiguous: 1 for series (N, C, T) or
        waveforms (N, T), 3 for a volume (C, D, H, W).
    **options
        Passed to scikit-image's function, e.g. ``compactness=20`` for slic.

    Returns
    -------
    Tensor
        int64 labels on the CPU, shape (N, 1, *spatial), or (N, T) for waveforms. Each sample uses all labels from 0 to
        n-1.

    Raises
    ------
    UnknownNameError
        If `method` is unknown.
    ValueError
        If the image has another shape or holds NaN or Inf, or `n_segments` is not a positive integer.
    ImportError
        If scikit-image is missing. ``"grid"`` and series do not need it.

    Examples
    --------
    >>> superpixels(np.zeros((4, 4, 3)), "grid", n_segments=4)[0, 0]
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3],
            [2, 2, 3, 3]])
    >>> superpixels(torch.zeros(1, 2, 6), n_segments=3, spatial_dims=1)[0, 0]
    tensor([0, 0, 1, 1, 2, 2])
    """
    if method not in _METHODS:
        raise UnknownNameError("superpixel method", method, _METHODS)
    if isinstance(n_segments, bool) or not isinstance(n_segments, int) or n_segments < 1:
        raise ValueError(f"n_segments must be a positive integer, got {n_segments!r}")
    labels = torch.stack([_labels(pixels, method, n_segments, options) for pixels in _samples(image, spatial_dims)])
    waveforms = spatial_dims == 1 and image.dim() == 2
    return labels if waveforms else labels[:, None]


def _labels(pixels: Pixels, method: str, n_segments: int, options: dict[str, Any]) -> Tensor:
    """Labels of one sample, shape (*spatial); its pixels have their channels last."""
    spatial = pixels.ndim - 1
    if spatial != 2 and method not in ("slic", "grid"):
        raise ValueError(
            f"superpixel method {method!r} only takes images, got {spatial} spatial dimension(s): use 'slic'"
        )
    chosen = _grid if spatial == 1 else _METHODS[method]
    found = chosen(pixels, n_segments, options)
    labels = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    return torch.from_numpy(labels.astype(np.int64))


def _samples(image: Any, spatial_dims: int | None) -> list[Pixels]:
    """The samples of any supported input, values in [0, 1], shape (*spatial, 3) each."""
    if isinstance(image, (str, os.PathLike)):
        raise ValueError(f"expected an image, got the path {str(image)!r}: open it with PIL.Image.open(path)")
    if isinstance(image, Tensor):
        return [_unit(np.moveaxis(one, 0, -1)) for one in _channels_first(image, spatial_dims)]
    if spatial_dims not in (None, 2):
        raise ValueError(
            f"spatial_dims={spatial_dims} needs a tensor, got {type(image).__name__}: convert it with torch.as_tensor"
        )
    if hasattr(image, "convert") and not deep(image):
        image = image.convert("RGB")
    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ValueError(f"expected an image array of shape (H, W) or (H, W, 1|3|4), got {np.shape(image)}")
    return [_unit(array)]


def _channels_first(image: Tensor, spatial_dims: int | None) -> Sequence[npt.NDArray[Any]]:
    """Samples of shape (C, *spatial)."""
    dims, shape = image.dim(), tuple(image.shape)
    if spatial_dims not in (None, 1, 2, 3):
        raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims!r}")
    plain = dims in (2, 4, 5) or (dims == 3 and shape[0] in (1, 3, 4))
    if image.numel() == 0 or (spatial_dims is None and not plain):
        raise ValueError(
            f"expected a tensor (H, W), an image (1|3|4, H, W), or a batch (N, C, H, W) or (N, C, D, H, W), got "
            f"{shape}: pass spatial_dims=1 for series (N, C, T)"
        )
    spatial = spatial_dims or (3 if dims == 5 else 2)
    leading = shape[: dims - spatial]  # (), (C), or (N, C); (N) for waveforms
    if dims < spatial or len(leading) > 2:
        raise ValueError(f"expected (N, C) and {spatial} spatial dimension(s), got shape {shape}: check spatial_dims")
    batch = image[:, None] if (spatial, dims) == (1, 2) else image.reshape((1,) * (2 - len(leading)) + shape)
    return list((batch.double() if batch.is_floating_point() else batch).detach().cpu().numpy())


def _unit(array: npt.NDArray[Any]) -> Pixels:
    """Values rescaled to [0, 1], with three channels in the last dimension."""
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ValueError(f"expected an image of integers or floats, got {array.dtype}")
    if array.shape[-1] == 4 and array.ndim == 3:
        array = array[..., :3]
    if np.issubdtype(array.dtype, np.integer) and array.min(initial=0) >= 0:
        pixels: Pixels = unit_range(array)
    elif not np.isfinite(array).all():
        raise ValueError("the image holds NaN or Inf")
    else:
        pixels = array.astype(np.float64)
        low, high = pixels.min(), pixels.max()
        pixels = pixels if low >= 0 and high <= 1 else (pixels - low) / ((high - low) or 1.0)
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels.mean(-1, keepdims=True), 3, -1)


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
    labels, left = np.zeros((1,) * (pixels.ndim - 1), np.int64), float(n_segments)
    sides = pixels.shape[:-1]
    for axis, side in enumerate(sides):
        rest = sides[axis + 1 :]
        cells = min(side, max(1, round((left * side ** len(rest) / math.prod(rest)) ** (1 / (len(rest) + 1)))))
        left /= cells
        along = (np.arange(side) * cells // side).reshape(-1, *(1,) * len(rest))
        labels = labels * cells + along
    return np.asarray(labels)


def _segmentation() -> Any:
    try:
        return needed("skimage", "scikit-image", "superpixels").segmentation
    except ImportError as error:
        raise ImportError(f'{error}; the method "grid" does not need it') from error.__cause__


_METHODS: Mapping[str, Callable[[Pixels, int, dict[str, Any]], Labels]] = MappingProxyType(
    {"slic": _slic, "quickshift": _quickshift, "felzenszwalb": _felzenszwalb, "grid": _grid}
)
