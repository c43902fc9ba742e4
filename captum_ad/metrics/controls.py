"""The effect of hiding the object, compared with hiding an equal area elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, batch_of, masked, one_input, scored, whole_of
from captum_ad.metrics.places import Box, object_mask


def equal_area_control(mask: Tensor, k: int = 1, *, seed: int = 0) -> Tensor:
    """An object's mask, moved to places where the object is not.

    Parameters
    ----------
    mask : Tensor
        The object, bool, shape (H, W); :func:`box_mask` converts a box.
    k : int
        Number of different places.
    seed : int
        Random seed. All places are equally likely, and a larger `k` starts with the same ones.

    Returns
    -------
    Tensor
        bool, shape (k, H, W): translations within the image that do not overlap the object. They may overlap each
        other.

    Raises
    ------
    ValueError, TypeError
        If the mask is invalid, or the object is so large that there are fewer than `k` places.

    Examples
    --------
    >>> equal_area_control(torch.tensor([[True, True, False, False, False]]), k=2).any(0).int()
    tensor([[0, 0, 1, 1, 1]], dtype=torch.int32)
    """
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        what = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"expected the object's mask, bool (H, W), got {what}: use box_mask(box, height, width)")
    mask = object_mask(mask, mask)
    checked_controls(k)
    places = _places(mask)
    if len(places) < k:
        raise ValueError(
            f"there are {len(places)} places for a control that does not overlap the object, but k is {k}. The object "
            f"covers {float(mask.double().mean()):.0%} of the image: leave the image out, or lower k"
        )
    return _moved(mask, places, k, seed)


@dataclass(frozen=True)
class ObjectDrop:
    """The confidence in a class with its object hidden, and with an equal area hidden elsewhere.

    Attributes
    ----------
    whole : float
        Confidence with nothing hidden.
    object_hidden : float
        Confidence with the object hidden.
    control_hidden : Tensor
        Confidence with each control hidden, float64, shape (k,); fewer than requested, or none, if the object is too
        large.
    """

    whole: float
    object_hidden: float
    control_hidden: Tensor

    @property
    def object(self) -> float:
        """How much the confidence drops if the object is hidden."""
        return self.whole - self.object_hidden

    @property
    def control(self) -> float:
        """How much the confidence drops if a control is hidden, on average; NaN if there is no control."""
        return self.whole - float(self.control_hidden.mean()) if len(self.control_hidden) else math.nan

    @property
    def specific(self) -> float:
        """How much more it drops for the object than for a control; NaN if there is no control."""
        return self.object - self.control


def object_drop(
    forward_func: nn.Module,
    inputs: Tensor,
    inside: Tensor | Box,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    controls: int = 4,
    seed: int = 0,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
) -> ObjectDrop:
    """How much hiding the object lowers the confidence, compared with hiding the same shape elsewhere.

    A good way of hiding features lowers the confidence a lot for the object and little for a control. What it costs to
    hide a control is due to the missing background, or to the hiding itself.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    inputs : Tensor
        Shape (1, C, H, W).
    inside : Tensor or (left, top, right, bottom)
        The object: a mask, bool, shape (H, W), or a box in pixels, right and bottom exclusive.
    target : int or Target, optional
        The class index, or one of :mod:`captum_ad.targets`; None if `forward_func` has a target.
    baseline : str, float, Tensor or callable, optional
        As for :func:`sufficient_explanation`.
    controls : int
        Number of places from :func:`equal_area_control`; if there are fewer, all of them.
    seed : int
        Random seed of the places, which are the same for every way of hiding.
    to_confidence, batch_size
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ObjectDrop
        Its ``.specific`` is how much more the confidence drops for the object than for a control. Higher is better.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    >>> x = torch.zeros(1, 1, 4, 4)
    >>> object_drop(model, x, (0, 0, 2, 2), target=0, baseline="zero").specific
    0.0
    """
    one_input(inputs)
    if inputs.dim() != 4:
        raise ValueError(f"expected an image of shape (1, C, H, W), got {tuple(inputs.shape)}")
    checked_controls(controls)
    mask = object_mask(inside, inputs)
    runner, judge = asking(masked(forward_func, baseline), target, to_confidence)
    whole_of(runner, inputs, judge)
    places = _places(mask)
    hidden = torch.cat([torch.zeros_like(mask)[None], mask[None], _moved(mask, places, controls, seed)])

    def run(start: int, stop: int) -> Tensor:
        output: Tensor = runner.outputs(inputs.expand(stop - start, *inputs.shape[1:]), mask=~hidden[start:stop])
        return output

    confidence, _ = scored(run, len(hidden), judge, batch_of(batch_size, inputs.device))
    whole, object_hidden, *_ = confidence.tolist()
    return ObjectDrop(whole, object_hidden, confidence[2:].double())


def _places(mask: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The translations (down, right) within the image after which a mask does not overlap itself, shape (N, 2)."""
    height, width = mask.shape
    spectrum = torch.fft.rfft2(mask.double().cpu(), s=(2 * height, 2 * width))
    overlap = torch.fft.irfft2(spectrum * spectrum.conj(), s=(2 * height, 2 * width)).round()  # for each translation
    rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    down, right = torch.arange(-rows[0], height - rows[-1]), torch.arange(-columns[0], width - columns[-1])
    free = overlap[down][:, right] == 0
    return np.stack([down.numpy()[free.nonzero()[:, 0]], right.numpy()[free.nonzero()[:, 1]]], 1)


def _moved(mask: Tensor, places: np.ndarray[tuple[int, ...], np.dtype[np.int64]], k: int, seed: int) -> Tensor:
    """The mask at `k` of the places, or at all of them if there are fewer."""
    chosen = places[np.random.default_rng(seed).permutation(len(places))[:k]]
    if not len(chosen):
        return mask.new_zeros(0, *mask.shape)
    # the shape is within the image at every place, so nothing wraps around
    return torch.stack([mask.roll((int(down), int(right)), (0, 1)) for down, right in chosen])


def checked_controls(k: int) -> None:
    """Check that a number of controls is a positive integer.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"the number of controls must be a positive integer, got {k!r}")
