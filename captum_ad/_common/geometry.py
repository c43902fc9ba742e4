"""Carry masks of a photograph through its transform, so that a mask reaches the model the way its image does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

MaskTransform = Callable[[Tensor], Tensor]
"""Maps a label map (H, W), int64, to that of the model's input (h, w), by nearest neighbor, with 0 in padding."""

_POINTWISE = {
    *("ToTensor", "PILToTensor", "ToImage", "ToPILImage", "ToPureTensor"),
    *("ToDtype", "ConvertImageDtype", "Normalize", "Grayscale", "RGB", "Identity"),
}
_GEOMETRIC = {"Resize", "CenterCrop", "Pad"}
_FLIPS = {"RandomHorizontalFlip", "RandomVerticalFlip"}


def source_positions(shape: tuple[int, int], transform: Any, mask_transform: MaskTransform | None = None) -> Tensor:
    """The position of the image that each position of the transformed image shows.

    Positions are numbered 1, 2, … row by row, and the map of these numbers goes through the
    transform's geometric steps with nearest-neighbor interpolation. These are ``Resize``,
    ``CenterCrop``, ``Pad`` and flips with p = 1, in ``Compose`` or ``nn.Sequential``, and the presets
    of torchvision's weights. Steps that change only values are skipped. Transforms v1 and v2 of
    torchvision are supported.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    transform : callable
        The image's transform.
    mask_transform : callable, optional
        Applied to the map instead of `transform`, for transforms that are not supported.

    Returns
    -------
    Tensor
        int64, shape (h, w): 1 + row * W + column of the image, or 0 for padding.

    Raises
    ------
    ValueError
        If a step of the transform is unknown or random, or `mask_transform` returns an invalid map.

    Examples
    --------
    >>> from torchvision import transforms
    >>> steps = [transforms.Resize(2), transforms.Pad(1), transforms.RandomHorizontalFlip(p=1), transforms.ToTensor()]
    >>> source_positions((4, 4), transforms.Compose(steps))
    tensor([[ 0,  0,  0,  0],
            [ 0,  8,  6,  0],
            [ 0, 16, 14,  0],
            [ 0,  0,  0,  0]])
    """
    count = shape[0] * shape[1]
    numbers = torch.arange(1, count + 1).reshape(shape)
    if mask_transform is not None:
        return _label_map(mask_transform(numbers), count)
    image = numbers.double()[None]  # torchvision converts integers to float32, which is exact only to 16 megapixels
    for step in _steps(transform):
        image = _carried(step, image)
    return image[0].long()


def carry_masks(masks: Tensor, sources: Tensor) -> Tensor:
    """Turn masks of an image into masks of the transformed image; padding is kept, because it is not a feature.

    Parameters
    ----------
    masks : Tensor
        bool, shape (N, H, W), True = keep.
    sources : Tensor
        As returned by :func:`source_positions`, shape (h, w).

    Returns
    -------
    Tensor
        bool, shape (N, h, w).

    Examples
    --------
    >>> carry_masks(torch.tensor([[[True, False]]]), torch.tensor([[0, 1, 1, 2, 2, 0]]))
    tensor([[[ True,  True,  True, False, False,  True]]])
    """
    padding = masks.new_ones(masks.shape[0], 1)
    return torch.cat([padding, masks.flatten(1)], 1)[:, sources.to(masks.device)]


def segment_labels(segments: npt.NDArray[Any] | Tensor, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Renumber a segmentation to labels 0 to n-1 without gaps, in the order of the given labels.

    Parameters
    ----------
    segments : array or Tensor
        Integer labels, or booleans, shape (H, W) or (1, ..., H, W).
    shape : (int, int)
        Height and width of the segmented image.

    Returns
    -------
    array
        int64, shape (H, W).

    Raises
    ------
    ValueError
        If they have another shape or dtype, or there are fewer than two segments.

    Examples
    --------
    >>> segment_labels(np.array([[7, 7, 2]]), (1, 3))
    array([[1, 1, 0]])
    """
    labels = segments.detach().cpu().numpy() if isinstance(segments, Tensor) else np.asarray(segments)
    while labels.ndim > 2 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.shape != tuple(shape):
        raise ValueError(
            f"the segments have shape {labels.shape} but the image has {tuple(shape)}: give one label per position"
        )
    if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != np.bool_:
        raise ValueError(f"the segments are {labels.dtype}, expected integer labels")
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"the segmentation has {len(names)} segment(s), expected at least two: use a finer segmentation, e.g. "
            "captum_ad.segmentation.superpixels(image)"
        )
    return numbers.reshape(labels.shape).astype(np.int64)


def _steps(transform: Any) -> Iterator[Any]:
    kind = _kind(transform)
    if kind == "Compose":
        for step in transform.transforms:
            yield from _steps(step)
    elif isinstance(transform, nn.Sequential):
        for step in transform:
            yield from _steps(step)
    elif kind == "ImageClassification":
        from torchvision import transforms

        yield from (transforms.Resize(transform.resize_size), transforms.CenterCrop(transform.crop_size))
    else:
        yield transform


def _carried(step: Any, image: Tensor) -> Tensor:
    """The map after one step, shape (1, h, w)."""
    kind = _kind(step)
    if any(_torchvision(base) and base.__name__ in _POINTWISE for base in type(step).__mro__):
        return image
    if isinstance(step, nn.Identity) or (kind in _FLIPS and step.p == 0):
        return image
    if kind in _GEOMETRIC or (kind in _FLIPS and step.p == 1):
        carried: Tensor = _nearest(step, kind)(image)
        return carried
    name = getattr(step, "__qualname__", type(step).__qualname__)
    what = "it is random" if kind.startswith("Random") else "it is not known"
    raise ValueError(
        f"the transform has the step {name}, and a mask cannot be carried through it: {what}. Pass mask_transform=, a "
        "function from an integer label map (H, W) to that of the model's input (h, w) by nearest neighbor; or give "
        "the image as it is after that step, and a transform without it"
    )


def _nearest(step: Any, kind: str) -> Any:
    """The same step with nearest-neighbor interpolation and padding 0, for a map of numbers."""
    if kind == "Resize":
        from torchvision.transforms import InterpolationMode

        step = copy.copy(step)
        step.interpolation = InterpolationMode.NEAREST_EXACT  # aligned by pixel centers, like all other modes
    elif kind == "Pad":
        step = type(step)(step.padding, 0, step.padding_mode)
    return step


def _kind(step: Any) -> str:
    """The name of the step's class if it is torchvision's own, else "": a subclass may do something else."""
    return type(step).__name__ if _torchvision(type(step)) else ""


def _torchvision(kind: type) -> bool:
    return kind.__module__.startswith("torchvision.transforms.")


def _label_map(result: Any, count: int) -> Tensor:
    """The result of a user's `mask_transform`, after a check that it still holds numbers of positions."""
    if not isinstance(result, Tensor):
        raise ValueError(f"mask_transform returned {type(result).__name__}, expected a tensor of shape (h, w)")
    labels = result[0] if result.dim() == 3 and result.shape[0] == 1 else result
    if labels.dim() != 2 or labels.dtype == torch.bool:
        raise ValueError(
            f"mask_transform returned shape {tuple(result.shape)}, {result.dtype}, expected a label map (h, w): it "
            "gets integers (H, W) and must move them without thresholding"
        )
    numbers = labels.long()
    if bool((numbers != labels).any()) or not 0 <= int(numbers.min()) <= int(numbers.max()) <= count:
        raise ValueError(
            "mask_transform returned labels that it was not given (0 means padding): it must use the nearest neighbor "
            "instead of interpolating or scaling"
        )
    return numbers
