"""Named baselines: what an occluded feature is painted with where there is no Activation-Deactivation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.errors import UnknownNameError


def baseline(name: str, x: Tensor) -> Tensor:
    """The baseline of that name for a batch of images, ready for Captum's ``baselines=``.

    Parameters
    ----------
    name : {"zero", "min", "max", "avg", "blur"}
        ``"zero"``, ``"min"``, ``"max"``, ``"avg"``: 0, or the smallest, largest or mean value of
        each sample, over its channels and positions alike (the four masking values of the paper,
        arXiv 2510.01038, taken from the normalised input as the ReX tool does). ``"blur"``: the
        sample itself behind a Gaussian whose σ is a twentieth of its shorter side.
    x : Tensor
        The model's input, shape (N, C, H, W), floating point.

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`.

    Raises
    ------
    UnknownNameError
        If there is no baseline of that name; :data:`BASELINES` lists them.
    ValueError
        If `x` has another shape or dtype.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    >>> baseline("avg", x).flatten()
    tensor([3., 3., 3., 3.])
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if x.dim() != 4 or not x.is_floating_point() or x.numel() == 0:
        raise ValueError(
            f"baseline {name!r}: expected a floating-point batch of images (N, C, H, W), got {x.dtype} {tuple(x.shape)}"
        )
    return BASELINES[name](x)


def _solid(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Each sample filled with one number of its own."""

    def fill(x: Tensor) -> Tensor:
        return value(x.flatten(1)).reshape(-1, 1, 1, 1).expand_as(x).contiguous()

    return fill


def _blurred(x: Tensor) -> Tensor:
    sigma = min(x.shape[2:]) / 20
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float64)
    weights = (-0.5 * (steps / max(sigma, 1e-6)) ** 2).exp()
    exact = x if x.dtype == torch.float64 else x.float()  # half precision would round every tap
    kernel = (weights / weights.sum()).to(exact.dtype)
    channels = x.shape[1]
    padded = F.pad(exact, (reach,) * 4, mode="replicate")
    along_rows = F.conv2d(padded, kernel.reshape(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    blurred = F.conv2d(along_rows, kernel.reshape(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
    return blurred.to(x.dtype)


BASELINES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "zero": torch.zeros_like,
        "min": _solid(lambda values: values.amin(1)),
        "max": _solid(lambda values: values.amax(1)),
        "avg": _solid(lambda values: values.mean(1)),
        "blur": _blurred,
    }
)
"""The named baselines: each a function of the input batch."""
