"""Multi-scale maps: an attributor averaged over a pyramid of feature masks (Seo, Oh and Oh 2018)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_ad.segmentation import superpixels
from captum_ad.targets.groups import Contrast, Group

SCALES = (25, 50, 100)
"""Approximate number of superpixels at each level of a pyramid."""


class MultiScale:
    """The mean of an attributor's maps over several feature masks.

    From *Regional Multi-scale Approach for Visually Pleasing Explanations of Deep Neural Networks* (Seo, Oh, Oh 2018,
    arXiv 1807.11720): an image is segmented at several scales, a region's effect is how much the log-odds drop without
    it, and the maps are averaged. To reproduce it, use ``FeatureAblation`` on a forward with the target
    :func:`log_odds`. Regions are hidden by AD or, as in the source, by the baseline ``"boundary-normal"``. Our reading:
    the scales, and the natural logarithm.

    Parameters
    ----------
    attributor : Attribution
        Any of Captum's attributors that takes a ``feature_mask`` (``FeatureAblation``, ``KernelShap``, ``Lime``,
        ``ShapleyValueSampling``, …), on an ADForward, a BaselineForward or a plain model.

    Raises
    ------
    TypeError
        If the attributor takes no ``feature_mask``.

    Examples
    --------
    >>> from captum.attr import FeatureAblation
    >>> from captum_ad import ADForward
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    >>> ad, x = ADForward(model, target=log_odds(1, classes=4)), torch.rand(1, 3, 8, 8)
    >>> halves = torch.arange(8).expand(8, 8) // 4
    >>> MultiScale(FeatureAblation(ad)).attribute(x, feature_masks=[halves, halves.T]).shape
    torch.Size([1, 3, 8, 8])
    """

    def __init__(self, attributor: Attribution) -> None:
        method = getattr(attributor, "attribute", None)
        if method is None or "feature_mask" not in inspect.signature(method).parameters:
            raise TypeError(
                f"MultiScale needs an attributor that takes feature_mask=, e.g. FeatureAblation(ad), got "
                f"{type(attributor).__name__}"
            )
        self.attributor = attributor

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        feature_masks: Sequence[Tensor | tuple[Tensor, ...]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Compute attributions for a batch.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            As for the attributor.
        feature_masks : sequence of Tensor, or of tuples of Tensor
            One feature mask per scale, as the attributor takes it. By default :func:`pyramid` of the input, which must
            then be images.
        **kwargs
            The attributor's other arguments, the same at every scale.

        Returns
        -------
        Tensor or tuple of Tensor
            The mean over scales, of the inputs' shape.

        Raises
        ------
        ValueError, TypeError
            If `feature_masks` is empty or a single tensor, or if the attributor raises it.
        """
        if "feature_mask" in kwargs:
            raise TypeError("MultiScale got feature_mask=: give feature_masks=, a list with one mask per scale")
        if feature_masks is None:
            if not isinstance(inputs, Tensor):
                raise ValueError("for several inputs give feature_masks=, a list with one tuple of masks per scale")
            feature_masks = pyramid(inputs)
        if isinstance(feature_masks, Tensor) or len(feature_masks) == 0:
            what = "a single tensor" if isinstance(feature_masks, Tensor) else "none"
            raise ValueError(f"feature_masks must be a list of feature masks, one per scale, got {what}")
        maps = [self.attributor.attribute(inputs, feature_mask=mask, **kwargs) for mask in feature_masks]
        if isinstance(inputs, tuple):
            return tuple(torch.stack(one).mean(0) for one in zip(*maps))
        return torch.stack(maps).mean(0)


def pyramid(x: Tensor, scales: Sequence[int] = SCALES, method: str = "slic") -> list[Tensor]:
    """Superpixels at several scales.

    Parameters
    ----------
    x : Tensor
        The model's input, shape (N, C, H, W).
    scales : sequence of int
        Approximate number of superpixels at each level.
    method : str
        As for :func:`captum_ad.segmentation.superpixels`.

    Returns
    -------
    list of Tensor
        Labels, int64, shape (N, 1, H, W) each, on the device of `x`.

    Raises
    ------
    ValueError
        If `scales` is empty, or as in :func:`captum_ad.segmentation.superpixels`.

    Examples
    --------
    >>> [int(mask.max()) + 1 for mask in pyramid(torch.rand(1, 3, 8, 8), [4, 16], "grid")]
    [4, 16]
    """
    if len(scales) == 0:
        raise ValueError("scales is empty: give the numbers of superpixels, e.g. (25, 50, 100)")
    return [superpixels(x, method, n).to(x.device) for n in scales]


def log_odds(index: int, classes: int) -> Contrast:
    """A target for the log-odds of a class against all others, whose drop is a region's weight of evidence.

    Parameters
    ----------
    index : int
        The class index.
    classes : int
        The number of classes of the model, at least 2.

    Examples
    --------
    >>> log_odds(0, classes=3).score(torch.tensor([[2.0, 0.0, 0.0]]))  # 2 − log 2
    tensor([1.3069])
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or not 0 <= index < classes or classes < 2:
        raise ValueError(
            f"expected at least 2 classes, and an index from 0 to classes − 1, got classes={classes!r}, index={index!r}"
        )
    return Contrast(index, Group([i for i in range(classes) if i != index]))
