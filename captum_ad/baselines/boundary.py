"""The baseline ``"boundary-normal"``: hidden pixels are drawn from a normal distribution fitted to the image border."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from captum_ad.segmentation import superpixels

SEGMENTS = 100
"""Approximate number of superpixels per image."""


def boundary_normal(x: Tensor, mask: Tensor | None = None, *, seed: int = 0, n_segments: int = SEGMENTS) -> Tensor:
    """Images drawn pixel by pixel from a normal distribution fitted to the superpixels along the border.

    This is how Seo, Oh, Oh 2018, *Regional Multi-scale Approach for Visually Pleasing Explanations of Deep Neural
    Networks* (arXiv 1807.11720) exclude regions: the border of an image is mostly background (the boundary prior). Our
    reading: each pixel is drawn independently, with the mean and covariance of the channels over all pixels of SLIC
    superpixels that touch the border.

    Parameters
    ----------
    x : Tensor
        Shape (N, C, H, W), floating point.
    mask : Tensor, optional
        Not used: baselines are called with it, but the draws do not depend on it.
    seed : int
        Random seed. Every sample and mask gets the same draws.
    n_segments : int
        Approximate number of superpixels per image.

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`.

    Raises
    ------
    ValueError
        If `x` is not a batch of images.
    ImportError
        If scikit-image is missing.

    Examples
    --------
    >>> boundary_normal(torch.full((1, 3, 8, 8), 0.5))[0, :, 4, 4]  # a border of one color
    tensor([0.5000, 0.5000, 0.5000])
    """
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point() or x.numel() == 0:
        what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"boundary-normal: expected a floating-point batch of images (N, C, H, W), got {what}")
    labels = superpixels(x, n_segments=n_segments)[:, 0]
    drawn = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    painted = []
    for image, segments in zip(x.detach().cpu().double(), labels):
        edge = torch.cat([segments[0], segments[-1], segments[:, 0], segments[:, -1]]).unique()
        pixels = image[:, torch.isin(segments, edge)]
        mean = pixels.mean(1)
        apart = pixels - mean[:, None]
        values, vectors = torch.linalg.eigh(apart @ apart.T / pixels.shape[1])
        root = vectors * values.clamp(min=0).sqrt()  # not Cholesky: the covariance may be singular, e.g. of gray images
        painted.append(mean[:, None, None] + torch.einsum("ij,jhw->ihw", root, drawn))
    return torch.stack(painted).to(x)


SAMPLED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType({"boundary-normal": boundary_normal})
"""Random baselines by name. Comparisons leave them out by default."""
