"""What hiding the object does, against hiding as much elsewhere."""

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
    """An object's shape, moved to where the object is not.

    Parameters
    ----------
    mask : Tensor
        The object, bool, shape (H, W); :func:`box_mask` makes one of a box.
    k : int
        How many places, all different.
    seed : int
        Of the choice; each place is as likely as any other. One is the first of the `k` of the same seed.

    Returns
    -------
    Tensor
        bool, shape (k, H, W): translations that lie within the image (nothing wraps around), none of which overlaps
        the object. They may overlap each other.

    Raises
    ------
    ValueError, TypeError
        If the mask does not fit, or there are not so many places because the object is too large.

    Examples
    --------
    >>> equal_area_control(torch.tensor([[True, True, False, False, False]]), k=2).any(0).int()
    tensor([[0, 0, 1, 1, 1]], dtype=torch.int32)
    """
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        what = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"expected the object's mask, bool (H, W), got {what}; box_mask(box, height, width) makes one")
    mask = object_mask(mask, mask)
    checked_controls(k)
    places = _places(mask)
    if len(places) < k:
        raise ValueError(
            f"there are {len(places)} places for a control of the object's shape that does not overlap it, and k is "
            f"{k}: the object takes {float(mask.double().mean()):.0%} of the image; leave it out, or ask for fewer"
        )
    return _moved(mask, places, k, seed)


@dataclass(frozen=True)
class ObjectDrop:
    """The confidence in a class with its object hidden, and with as much hidden elsewhere.

    Attributes
    ----------
    whole : float
        With nothing hidden.
    object_hidden : float
        With the object hidden.
    control_hidden : Tensor
        With each control hidden, float64, shape (k); fewer than asked for, or none, if the object is too large.
    """

    whole: float
    object_hidden: float
    control_hidden: Tensor

    @property
    def object(self) -> float:
        """What hiding the object takes from the confidence."""
        return self.whole - self.object_hidden

    @property
    def control(self) -> float:
        """What hiding a control takes from it, the mean; NaN if there is no place for one."""
        return self.whole - float(self.control_hidden.mean()) if len(self.control_hidden) else math.nan

    @property
    def specific(self) -> float:
        """How much more hiding the object takes than a control; NaN if there is no place for one."""
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
    """What hiding the object takes from the confidence, against hiding the same shape elsewhere.

    A way of hiding that does what it should takes much with the object, and little with a control: what it takes with
    a control is due to the background that is missing, or to the hiding itself.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    inputs : Tensor
        Shape (1, C, H, W).
    inside : Tensor or (left, top, right, bottom)
        The object: a mask, bool, shape (H, W), or a box in pixels, right and bottom exclusive.
    target : int or Target, optional
        The class, or what else is explained; not if `forward_func` has one.
    baseline : str, float, Tensor or callable, optional
        As for :func:`sufficient_explanation`.
    controls : int
        How many places of :func:`equal_area_control`; all there are, if these are fewer.
    seed : int
        Of the places: every way of hiding gets the same ones.
    to_confidence, batch_size
        As for :func:`sufficient_explanation`.

    Returns
    -------
    ObjectDrop
        ``.specific`` is how much more the object takes. Higher is better.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit.

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
    """The translations (down, right) within the image that take a mask off itself, shape (N, 2)."""
    height, width = mask.shape
    spectrum = torch.fft.rfft2(mask.double().cpu(), s=(2 * height, 2 * width))
    overlap = torch.fft.irfft2(spectrum * spectrum.conj(), s=(2 * height, 2 * width)).round()  # by translation
    rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    down, right = torch.arange(-rows[0], height - rows[-1]), torch.arange(-columns[0], width - columns[-1])
    free = overlap[down][:, right] == 0
    return np.stack([down.numpy()[free.nonzero()[:, 0]], right.numpy()[free.nonzero()[:, 1]]], 1)


def _moved(mask: Tensor, places: np.ndarray[tuple[int, ...], np.dtype[np.int64]], k: int, seed: int) -> Tensor:
    """The mask in `k` of the places, or in all."""
    chosen = places[np.random.default_rng(seed).permutation(len(places))[:k]]
    if not len(chosen):
        return mask.new_zeros(0, *mask.shape)
    # the shape lies within the image at every place, so that nothing of it wraps around
    return torch.stack([mask.roll((int(down), int(right)), (0, 1)) for down, right in chosen])


def checked_controls(k: int) -> None:
    """Refuse what is not a positive number of controls.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"the number of controls must be a positive integer, got {k!r}")
