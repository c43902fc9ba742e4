"""Named baselines: what an occluded feature is painted with where there is no Activation-Deactivation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.errors import UnknownNameError
from captum_ad.extras import needed


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
        If `x` has another shape or dtype, or the baseline is ``"inpaint"``, which is a function of
        the mask too: see :func:`inpaint`.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    >>> baseline("avg", x).flatten()
    tensor([3., 3., 3., 3.])
    """
    if name == "inpaint":
        raise ValueError(
            "the baseline 'inpaint' depends on what is masked: give the attributor BaselineForward(model, 'inpaint') "
            "in place of the model, and no baselines"
        )
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


def inpaint(x: Tensor, mask: Tensor) -> Tensor:
    """Images whose masked part continues what is around it (Navier-Stokes inpainting of OpenCV, per channel).

    Parameters
    ----------
    x : Tensor
        Shape (N, C, H, W), floating point.
    mask : Tensor
        bool, True = keep, shape (N, 1|C, H, W).

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`, the same where `mask` is True. What stands behind the
        mask has no influence; a channel of which nothing is kept is 0.

    Raises
    ------
    ImportError
        If OpenCV is missing.
    ValueError
        If `x` is no batch of images.
    """
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"inpaint: expected a floating-point batch of images (N, C, H, W), got {tuple(x.shape)}")
    cv2 = needed("cv2", "OpenCV", "inpaint")
    kept = mask.expand_as(x).cpu().numpy()
    pixels = np.where(kept, x.detach().float().cpu().numpy(), np.float32(0))
    for channel, seen in zip(pixels.reshape(-1, *x.shape[2:]), kept.reshape(-1, *x.shape[2:])):
        if seen.any() and not seen.all():
            channel[:] = cv2.inpaint(np.ascontiguousarray(channel), (~seen).astype(np.uint8), 3, cv2.INPAINT_NS)
    return torch.where(mask, x, torch.from_numpy(pixels).to(x))
