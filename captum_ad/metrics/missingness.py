"""Missingness: how much a network is disturbed by missing features as such (Jain et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._forwards.baseline_forward import Baseline, MaskedForward
from captum_ad._scoring import ToConfidence, asking, batch_of, masked, one_input, scored, share, whole_of
from captum_ad.metrics.curve import Curve
from captum_ad.segmentation import superpixels
from captum_ad.targets.base import Target

PATTERNS = ("patches", "center", "superpixels")
"""What stays present: random patches, one centered rectangle, or random superpixels."""


@dataclass(frozen=True)
class MissingnessCurve(Curve):
    """A network's accuracy and confidence over the fraction of the input that is present.

    Attributes
    ----------
    sizes : Tensor
        Requested fractions of the positions, increasing, float64, shape (K,).
    values : Tensor
        Accuracy: fraction of the images whose target is still the answer, float64, shape (K,).
    confidences : Tensor
        Mean confidence in the targets, float64, shape (K,).
    class_kept : Tensor
        Whether each image's target is still the answer, bool, shape (images, K).
    confidence : Tensor
        Confidence in each image's target, shape (images, K).
    """

    confidences: Tensor
    class_kept: Tensor
    confidence: Tensor


def missingness_curve(
    forward_func: nn.Module,
    images: Sequence[Tensor] | Tensor,
    targets: Sequence[int | Target] | Tensor,
    shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    pattern: str = "patches",
    *,
    baseline: Baseline | None = None,
    patch: int = 16,
    n_segments: int = 100,
    seed: int = 0,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> MissingnessCurve:
    """Accuracy and confidence over the fraction of the image that is present.

    What is present does not depend on the class. So any loss of accuracy beyond that due to the missing
    content is caused by the masking itself: its missingness bias. The same seed gives every
    masking the same masks, and the mask of a larger fraction contains that of a smaller one.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    images : Tensor or sequence of Tensor
        Model inputs, shape (C, H, W) or (1, C, H, W) each.
    targets : sequence of int or Target
        The class index of each image, or one of :mod:`captum_ad.targets`.
    shares : sequence of float
        Fractions of the image to keep, 0 to 1, rounded to whole patches or positions.
    pattern : {"patches", "center", "superpixels"}
        Random patches of a grid; one centered rectangle with the image's aspect ratio; or random superpixels
        (SLIC) until at least that fraction is present.
    baseline : str, float, Tensor or callable, optional
        As for :func:`sufficient_explanation`.
    patch : int
        Side of a patch in pixels; the last row and column of the grid may be narrower. It should be small compared
        to the image, since fractions are rounded to whole patches.
    n_segments : int
        Approximate number of superpixels per image.
    seed : int
        Random seed. Image i has the masks of ``present_masks(..., seed=(seed, i))``.
    to_confidence, batch_size, show_progress
        As for :func:`sufficient_explanation`. A batch holds several fractions of one image.

    Returns
    -------
    MissingnessCurve
        With `shares` in increasing order.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    >>> images = torch.rand(5, 3, 8, 8)
    >>> targets = model(images).argmax(1)
    >>> curve = missingness_curve(ADForward(model), images, targets, (0.5, 1.0), patch=2)
    >>> curve.at(1.0)
    1.0
    """
    if len(images) == 0:
        raise ValueError("got 0 images, expected at least one")
    if len(images) != len(targets):
        raise ValueError(f"expected one target per image, got {len(images)} images and {len(targets)} targets")
    wanted = sorted(set(_checked(shares, pattern, patch)))
    runner = masked(forward_func, baseline)
    kept, confidence = [], []
    for i, image in enumerate(tqdm(images, desc="Missingness", unit="image", disable=not show_progress)):
        x = image[None] if isinstance(image, Tensor) and image.dim() == 3 else image
        one_input(x)
        masks = present_masks(x, wanted, pattern, patch=patch, n_segments=n_segments, seed=(seed, i))

        asked, judge = asking(runner, targets[i], to_confidence)
        whole_of(asked, x, judge)

        def run(start: int, stop: int, x: Tensor = x, masks: Tensor = masks, asked: MaskedForward = asked) -> Tensor:
            output: Tensor = asked.outputs(x.expand(stop - start, *x.shape[1:]), mask=masks[start:stop])
            return output

        scores = scored(run, len(masks), judge, batch_of(batch_size, x.device))
        confidence.append(scores[0])
        kept.append(scores[1])
    each_kept, each_confidence = torch.stack(kept), torch.stack(confidence)
    sizes = torch.tensor(wanted, dtype=torch.float64, device=each_kept.device)
    means = each_kept.double().mean(0), each_confidence.double().mean(0)
    return MissingnessCurve(sizes, *means, each_kept, each_confidence)


def present_masks(
    inputs: Tensor,
    shares: Sequence[float],
    pattern: str = "patches",
    *,
    patch: int = 16,
    n_segments: int = 100,
    seed: int | tuple[int, ...] = 0,
) -> Tensor:
    """Masks that keep given fractions of an image, each containing the next smaller one.

    Parameters
    ----------
    inputs : Tensor
        The image, shape (1, C, H, W).
    shares, pattern, patch, segments
        As for :func:`missingness_curve`.
    seed : int or tuple of int
        Random seed.

    Returns
    -------
    Tensor
        bool, True = keep, shape (shares, H, W), on the device of `inputs`.
    """
    shares = _checked(shares, pattern, patch)
    if inputs.dim() != 4 or len(inputs) != 1:
        raise ValueError(f"expected an image of shape (1, C, H, W), got {tuple(inputs.shape)}")
    height, width = inputs.shape[2:]
    if pattern == "center":
        return torch.stack([_center(height, width, present) for present in shares]).to(inputs.device)
    if pattern == "patches":
        rows, columns = torch.arange(height) // patch, torch.arange(width) // patch
        labels = rows[:, None] * int(columns[-1] + 1) + columns
    else:
        labels = superpixels(inputs, n_segments=n_segments)[0, 0]
    groups = int(labels.max()) + 1
    order = torch.from_numpy(np.random.default_rng(seed).permutation(groups))
    areas = torch.bincount(labels.flatten(), minlength=groups)[order].cumsum(0)
    place = torch.empty_like(order)
    place[order] = torch.arange(groups)
    if pattern == "patches":
        counts = [round(present * groups) for present in shares]
    else:
        least = [math.ceil(present * labels.numel() - 1e-9) for present in shares]
        counts = [int((areas < n).sum()) + (n > 0) for n in least]
    return torch.stack([place[labels] < count for count in counts]).to(inputs.device)


def _center(height: int, width: int, present: float) -> Tensor:
    """A centered rectangle with the image's aspect ratio."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = round(height * present**0.5), round(width * present**0.5)
    top, left = (height - rows) // 2, (width - columns) // 2
    mask[top : top + rows, left : left + columns] = True
    return mask


def _checked(shares: Sequence[float], pattern: str, patch: int) -> list[float]:
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern!r}")
    if isinstance(patch, bool) or not isinstance(patch, int) or patch < 1:
        raise ValueError(f"patch must be a positive number of pixels, got {patch!r}")
    if len(shares) == 0:
        raise ValueError("shares is empty: give at least one")
    return [share(value, "a share of the image") for value in shares]
