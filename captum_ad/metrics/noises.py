"""Noises at five levels, for studies of robustness."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed

Noise = Callable[[Tensor, float, torch.Generator], Tensor]
"""A function of an image (C, H, W) in [0, 1], a strength and a generator; its result may leave that range."""


def corrupted(image: Tensor, noise: str, level: int, seed: int = 0) -> Tensor:
    """Add noise of a given level to an image.

    Strengths are those of ImageNet-C (Hendrycks and Dietterich 2019, *Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations*, ICLR). But brightness is added to every channel, not to the value in HSV.

    Parameters
    ----------
    image : Tensor
        The image before normalization: floating point in [0, 1], shape (C, H, W). JPEG needs one or three channels.
    noise : str
        A name in :data:`NOISES`: ``"gaussian"``, ``"salt_and_pepper"``, ``"speckle"``, ``"poisson"``, ``"blur"``,
        ``"jpeg"``, ``"brightness"``, ``"contrast"``.
    level : int
        1 (weak) to 5 (strong).
    seed : int
        Random seed. The same seed gives the same noise on every machine.

    Returns
    -------
    Tensor
        Same shape, dtype and device, values in [0, 1].

    Raises
    ------
    UnknownNameError
        If the noise is unknown.
    ValueError
        If the image or the level is invalid.

    Examples
    --------
    >>> corrupted(torch.full((1, 2, 2), 0.5), "brightness", 2)
    tensor([[[0.7000, 0.7000],
             [0.7000, 0.7000]]])
    """
    if noise not in NOISES:
        raise UnknownNameError("noise", noise, NOISES)
    strengths, function = NOISES[noise]
    if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= len(strengths):
        raise ValueError(f"level must be an integer from 1 to {len(strengths)}, got {level!r}")
    if not isinstance(image, Tensor) or image.dim() != 3 or not image.is_floating_point() or image.numel() == 0:
        what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"expected a floating-point image of shape (C, H, W), got {what}")
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise ValueError(
            f"expected an image in [0, 1], got values from {float(image.min()):.3g} to {float(image.max()):.3g}: add "
            "noise before normalizing the image"
        )
    generator = torch.Generator().manual_seed(seed)
    found = function(image.detach().cpu().double(), strengths[level - 1], generator)
    return found.clamp(0, 1).to(image)


def _gaussian(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return image + strength * torch.randn(image.shape, generator=generator, dtype=image.dtype)


def _salt_and_pepper(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(image.shape, generator=generator, dtype=image.dtype)
    return torch.where(drawn < strength / 2, 0.0, torch.where(drawn < strength, 1.0, image))


def _speckle(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return image + image * strength * torch.randn(image.shape, generator=generator, dtype=image.dtype)


def _poisson(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return torch.poisson(image * strength, generator=generator) / strength


def _blur(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    reach = max(1, round(4 * strength))
    steps = torch.arange(-reach, reach + 1, dtype=image.dtype)
    weights = (-0.5 * (steps / strength) ** 2).exp()
    kernel = (weights / weights.sum())[None, None]
    for dim in (1, 2):  # a Gaussian is separable
        last = image.movedim(dim, -1)
        rows = F.pad(last.reshape(-1, 1, last.shape[-1]), (reach, reach), mode="replicate")
        image = F.conv1d(rows, kernel).reshape(last.shape).movedim(-1, dim)
    return image


def _jpeg(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    if image.shape[0] not in (1, 3):
        raise ValueError(f"JPEG needs images with one or three channels, got {image.shape[0]}: leave this noise out")
    pillow = needed("PIL.Image", "pillow", "demo")
    pixels = (image * 255).round().to(torch.uint8).movedim(0, -1).numpy()
    buffer = io.BytesIO()
    pillow.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels).save(buffer, "JPEG", quality=int(strength))
    read = torch.from_numpy(np.array(pillow.open(buffer))).double() / 255
    return read.reshape(*image.shape[1:], image.shape[0]).movedim(-1, 0)


def _brightness(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return image + strength


def _contrast(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    mean = image.mean((1, 2), keepdim=True)
    return (image - mean) * strength + mean


NOISES: Mapping[str, tuple[tuple[float, ...], Noise]] = MappingProxyType(
    {
        "gaussian": ((0.08, 0.12, 0.18, 0.26, 0.38), _gaussian),
        "salt_and_pepper": ((0.03, 0.06, 0.09, 0.17, 0.27), _salt_and_pepper),
        "speckle": ((0.15, 0.2, 0.35, 0.45, 0.6), _speckle),
        "poisson": ((60, 25, 12, 5, 3), _poisson),
        "blur": ((1, 2, 3, 4, 6), _blur),
        "jpeg": ((25, 18, 15, 10, 7), _jpeg),
        "brightness": ((0.1, 0.2, 0.3, 0.4, 0.5), _brightness),
        "contrast": ((0.4, 0.3, 0.2, 0.1, 0.05), _contrast),
    }
)
"""The noises by name: their strengths at levels 1 to 5, and their functions."""
