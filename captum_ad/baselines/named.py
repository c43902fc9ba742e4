"""Named baselines: what hidden features are painted with when Activation-Deactivation is not used."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed


def baseline(name: str, x: Tensor) -> Tensor:
    """A named baseline for a batch of images, ready for Captum's ``baselines=``.

    Parameters
    ----------
    name : {"zero", "min", "max", "avg", "blur"}
        ``"zero"``, ``"min"``, ``"max"``, ``"avg"``: 0, or the smallest, largest or mean value of
        each sample over all channels and positions (the four masking values of the paper,
        arXiv 2510.01038, taken from the normalized input as the ReX tool does). ``"blur"``: the
        sample under a Gaussian blur whose σ is a twentieth of its shortest side. ``"inpaint"`` and ``"linear"``
        depend on the mask, so ``baselines=`` cannot take them.
    x : Tensor
        The model's input, shape (N, C, *spatial) or (N, T), floating point.

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`.

    Raises
    ------
    UnknownNameError
        If the name is unknown; :data:`BASELINES` lists the names.
    ValueError
        If `x` has another shape or dtype, or the baseline is :func:`inpaint` or :func:`linear`.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    >>> baseline("avg", x).flatten()
    tensor([3., 3., 3., 3.])
    """
    if name in IMPUTATIONS:
        raise ValueError(
            f"the baseline {name!r} depends on the mask: give the attributor BaselineForward(model, {name!r}) "
            "instead of the model, and leave out baselines="
        )
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if x.dim() < 2 or not x.is_floating_point() or x.numel() == 0:
        raise ValueError(
            f"baseline {name!r}: expected a floating-point batch, (N, C, *spatial) or (N, T), got {x.dtype} "
            f"{tuple(x.shape)}"
        )
    return BASELINES[name](x)


def _solid(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that fills each sample with one value computed from it."""

    def fill(x: Tensor) -> Tensor:
        return value(x.flatten(1)).reshape(-1, *(1,) * (x.dim() - 1)).expand_as(x).contiguous()

    return fill


def _blurred(x: Tensor) -> Tensor:
    spatial = range(min(2, x.dim() - 1), x.dim())  # for series (N, T), the last dimension
    sigma = min(x.shape[d] for d in spatial) / 20
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float64)
    weights = (-0.5 * (steps / max(sigma, 1e-6)) ** 2).exp()
    exact = x if x.dtype == torch.float64 else x.float()  # half precision would round at every kernel tap
    kernel = (weights / weights.sum()).to(exact.dtype)[None, None]
    for dim in spatial:  # a Gaussian is separable
        last = exact.movedim(dim, -1)
        rows = F.pad(last.reshape(-1, 1, last.shape[-1]), (reach, reach), mode="replicate")
        exact = F.conv1d(rows, kernel).reshape(last.shape).movedim(-1, dim)
    return exact.to(x.dtype).contiguous()


BASELINES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "zero": torch.zeros_like,
        "min": _solid(lambda values: values.amin(1)),
        "max": _solid(lambda values: values.amax(1)),
        "avg": _solid(lambda values: values.mean(1)),
        "blur": _blurred,
    }
)
"""Named baselines, each a function of the input batch."""


def inpaint(x: Tensor, mask: Tensor) -> Tensor:
    """Images whose masked part is inpainted from its surroundings (OpenCV's Navier-Stokes inpainting, per channel).

    Parameters
    ----------
    x : Tensor
        Shape (N, C, H, W), floating point.
    mask : Tensor
        bool, True = keep, shape (N, 1|C, H, W).

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`, and equal to it where `mask` is True. Masked values have no
        influence. A channel with no kept pixel is 0.

    Raises
    ------
    ImportError
        If OpenCV is missing.
    ValueError, TypeError
        If `x` is not a batch of images, or `mask` is not boolean or does not fit.
    """
    _checked("inpaint", x, mask)
    cv2 = needed("cv2", "opencv-python-headless", "inpaint")
    kept = mask.expand_as(x).cpu().numpy()
    # make it contiguous: where() keeps a channels-last layout, and then reshape() below would return a copy
    pixels = np.ascontiguousarray(np.where(kept, x.detach().float().cpu().numpy(), np.float32(0)))
    height, width = x.shape[2:]
    twice = (0, int(height == 1)), (0, int(width == 1))  # OpenCV reads memory beside an image of one row or column
    for channel, seen in zip(pixels.reshape(-1, height, width), kept.reshape(-1, height, width)):
        if seen.any() and not seen.all():
            image, missing = np.pad(channel, twice, mode="edge"), np.pad(~seen, twice, mode="edge").astype(np.uint8)
            channel[:] = cv2.inpaint(image, missing, 3, cv2.INPAINT_NS)[:height, :width]
    return torch.where(mask, x, torch.from_numpy(pixels).to(x))


def linear(x: Tensor, mask: Tensor, *, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Images whose masked pixels are weighted means of their neighbors: ROAD's noisy linear imputation.

    Every missing pixel is the weighted mean of its eight neighbors, missing or not: direct ones have weight 1/6 and
    diagonal ones 1/12, and at the image border the remaining weights are rescaled to add up to 1. This gives a sparse
    linear system per channel, solved once for all channels that share a mask. From Rong et al. 2022, *A Consistent and
    Efficient Evaluation Strategy for Attribution Methods* (ICML), which adds noise so that a network cannot recognize
    missing pixels by their smoothness.

    Parameters
    ----------
    x : Tensor
        Shape (N, C, H, W), floating point.
    mask : Tensor
        bool, True = keep, shape (N, 1|C, H, W).
    noise : float
        Standard deviation of the Gaussian noise on missing pixels, in units of `x`. The authors' code uses 0.01 by
        default (``NoisyLinearImputer`` in ``road/imputations.py`` of https://github.com/tleemann/road_evaluation). The
        baseline ``"linear"`` adds no noise.
    seed : int
        Random seed of the noise. Every sample gets the same noise.

    Returns
    -------
    Tensor
        Same shape, dtype and device as `x`, and equal to it where `mask` is True. Masked values have no
        influence. A channel with no kept pixel is 0 before the noise is added.

    Raises
    ------
    ImportError
        If scipy is missing.
    ValueError, TypeError
        If `x` is not a batch of images, `mask` is not boolean or does not fit, or `noise` is negative or not finite.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 4)[None, None]
    >>> mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    >>> mask[..., 1:3, 1:3] = False
    >>> linear(x, mask)[0, 0, 1].round(decimals=4)
    tensor([1., 2., 3., 4.])
    """
    _checked("linear", x, mask)
    if isinstance(noise, bool) or not isinstance(noise, numbers.Real) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a standard deviation, a finite number >= 0, got {noise!r}")
    kept = mask.expand_as(x).cpu().numpy().reshape(-1, *x.shape[2:])
    pixels = np.where(kept, x.detach().double().cpu().numpy().reshape(kept.shape), 0.0)
    sharing: dict[bytes, list[int]] = {}
    for i, seen in enumerate(kept):
        if seen.any() and not seen.all():
            sharing.setdefault(seen.tobytes(), []).append(i)
    for channels in sharing.values():
        missing = ~kept[channels[0]]
        solution = _interpolated(np.moveaxis(pixels[channels], 0, -1), missing)
        for channel, values in zip(channels, solution.T):
            pixels[channel][missing] = values
    painted = torch.from_numpy(pixels).reshape(x.shape)
    if noise:
        painted += float(noise) * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed))
    return torch.where(mask, x, painted.to(x))


_HALF_OF_NEIGHBORS = ((0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 12), (1, -1, 1 / 12))
"""(rows down, columns right, weight) of four of the eight neighbors; the other four are opposite."""


def _interpolated(pixels: np.ndarray[Any, Any], missing: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values of the missing pixels, shape (missing pixels, K), for K channels (H, W, K) that are 0 at missing pixels.

    Each pixel's equation is multiplied by the sum of its weights, so the matrix is part of a weighted graph Laplacian.
    It is symmetric, and positive definite because every missing pixel is connected to a kept one.
    """
    sparse, solvers = (needed(name, "scipy", "metrics") for name in ("scipy.sparse", "scipy.sparse.linalg"))
    count = int(missing.sum())
    place = np.full(missing.shape, -1, dtype=np.int32)
    place[missing] = np.arange(count, dtype=np.int32)
    total, known = np.zeros(missing.shape), np.zeros(pixels.shape)
    rows, columns, weights = [], [], []
    for down, right, weight in _HALF_OF_NEIGHBORS:
        here, there = _overlap(down, right)
        for one, other in ((here, there), (there, here)):
            total[one] += weight
            known[one] += weight * pixels[other]
            both = missing[one] & missing[other]
            rows.append(place[one][both])
            columns.append(place[other][both])
            weights.append(np.full(len(rows[-1]), -weight))
    entries = np.concatenate([*weights, total[missing]])
    diagonal = np.arange(count, dtype=np.int32)
    where = np.concatenate([*rows, diagonal]), np.concatenate([*columns, diagonal])
    matrix = sparse.csc_matrix((entries, where), shape=(count, count))
    # the matrix is symmetric, so pivots can stay on the diagonal: about three times faster than scipy's defaults
    factors = solvers.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    solution: np.ndarray[Any, Any] = factors.solve(known[missing])
    return solution


def _overlap(down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of all pixels that have a neighbor at this offset, and of those neighbors."""
    here = slice(None, -down or None), slice(max(0, -right), -right if right > 0 else None)
    there = slice(down, None), slice(max(0, right), right if right < 0 else None)
    return here, there


IMPUTATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType({"inpaint": inpaint, "linear": linear})
"""Named baselines that depend on the mask, each a function of the input batch and the mask."""


def _checked(name: str, x: Tensor, mask: Tensor) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"{name}: expected a floating-point batch of images (N, C, H, W), got {tuple(x.shape)}")
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        what = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name}: the mask is {what}, expected booleans, True = keep: use mask > 0.5")
    if mask.dim() != 4 or any(one not in (1, all_) for one, all_ in zip(mask.shape, x.shape)):
        raise ValueError(
            f"{name}: expected a mask (N, 1 or C, H, W) for images {tuple(x.shape)}, got {tuple(mask.shape)}"
        )
