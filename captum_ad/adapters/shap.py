"""An image masker for shap that hides positions without painting them.

shap's ``Image`` masker writes a blur, inpainting or a value into the image. This one passes on image and
mask unchanged, and :class:`captum_ad.adapters.classifier.MaskedClassifier` gives both to an ADForward.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from captum_ad._common.extras import needed
from captum_ad._common.geometry import segment_labels
from captum_ad.adapters.classifier import MaskedClassifier, check_classifier

__all__ = ["ImageMasker", "MaskedClassifier"]

_maskers: Any = needed("shap.maskers", "shap", "shap")
_Masker: Any = _maskers.Masker

Array = npt.NDArray[Any]


class ImageMasker(_Masker):  # type: ignore[misc]
    """An image masker for ``shap.Explainer``, whose features are positions with all their channels.

    Use it with a :class:`MaskedClassifier` as the model. SHAP values have shape (n, H, W, 1, *outputs), for
    ``shap.image_plot``. shap's Partition explainer descends a tree of halves of the image, cut across its
    longer side as in shap's own masker, or of groups of segments.

    Parameters
    ----------
    shape : sequence of int
        Shape of the images, (H, W, C).
    segments : array or Tensor, optional
        Integer labels of shape (H, W) or (1, 1, H, W), e.g. superpixels of the single image to
        explain. Positions of a segment are hidden together and share its value evenly.

    Raises
    ------
    ValueError
        If the shape is not (H, W, C), or the segments are fewer than two or have another shape.

    Examples
    --------
    >>> masker = ImageMasker((2, 2, 3))
    >>> image, mask = masker(np.array([True, False, True, True]), np.zeros((2, 2, 3)))
    >>> image.shape, mask.tolist()
    ((1, 2, 2, 3), [[[True, False], [True, True]]])
    """

    def __init__(self, shape: Sequence[int], segments: Array | Tensor | None = None) -> None:
        if len(shape) != 3 or min(shape) < 1 or shape[0] * shape[1] < 2:
            raise ValueError(f"shape must be (H, W, C) with at least two positions, got {tuple(shape)}")
        height, width, channels = (int(n) for n in shape)
        self.input_shape = (height, width, channels)
        self.segments = None if segments is None else segment_labels(segments, (height, width))
        # The attributes that shap expects of a masker:
        self.shape = (1, height * width)  # samples per mask, features
        if self.segments is None:
            self.clustering = _maskers.Image(0, (height, width, 1)).clustering
        else:
            self.clustering = segment_tree(self.segments)
        self.image_data = True  # with a clustering, this makes shap.Explainer choose Partition
        self.immutable_outputs = True
        self.fixed_background = False

    def __call__(self, mask: Array | bool | None, x: Any) -> tuple[Array, Array]:
        """The unchanged image, and the mask in its shape.

        Parameters
        ----------
        mask : array or bool
            bool, shape (H * W,), True = keep; None hides everything.
        x : array or Tensor
            One image, shape (H, W, C).

        Returns
        -------
        image : array
            Shape (1, H, W, C).
        mask : array
            bool, shape (1, H, W).

        Raises
        ------
        ValueError, TypeError
            If the image or the mask has another shape, or the explainer's model takes no masks.
        """
        asking = sys._getframe(1).f_locals.get("self")  # shap's MaskedModel, which passes the result to its model
        model = getattr(getattr(asking, "model", None), "inner_model", None)
        if model is not None:
            check_classifier(model, "the model of shap.Explainer")
        image = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
        kept = np.asarray(self._standardize_mask(False if mask is None else mask, x))
        if image.shape != self.input_shape:
            raise ValueError(
                f"the image has shape {image.shape}, but this ImageMasker was made for {self.input_shape}: make one "
                "for the images' shape, channels last, and explain a batch of them, (n, H, W, C)"
            )
        if kept.shape != self.shape[1:]:
            raise ValueError(f"the mask has shape {kept.shape}, expected one value per position, {self.shape[1:]}")
        return image[None], kept.astype(bool).reshape(1, *self.input_shape[:2])

    def mask_shapes(self, x: Any) -> list[tuple[int, ...]]:
        """The shape of one image's SHAP values: (H, W, 1), with one channel for all."""
        return [(*self.input_shape[:2], 1)]

    def save(self, out_file: Any) -> None:
        """Write the masker to a binary file."""
        super().save(out_file)
        pickle.dump({"shape": self.input_shape, "segments": self.segments}, out_file)

    @classmethod
    def load(cls, in_file: Any, instantiate: bool = True) -> Any:
        """Read a masker that :meth:`save` wrote, or the arguments of one."""
        if instantiate:
            return cls._instantiated_load(in_file)
        return {**super().load(in_file, instantiate=False), **pickle.load(in_file)}


def segment_tree(segments: Array) -> Array:
    """A hierarchy of an image's positions that keeps segments together, for shap's Partition explainer.

    Segments are split in halves by their centers, across the longer side of the centers' bounding box.
    The positions of a segment are joined at distance -1, which shap does not split.

    Parameters
    ----------
    segments : array
        Labels 0 to n-1, shape (H, W).

    Returns
    -------
    array
        float64, shape (H * W - 1, 4), as in ``scipy.cluster.hierarchy``: for each join, the two
        clusters, their distance (0 or -1), and their total number of positions.

    Examples
    --------
    >>> segment_tree(np.array([[0, 0, 1]]))
    array([[ 0.,  1., -1.,  2.],
           [ 3.,  2.,  0.,  3.]])
    """
    total = segments.size
    joins: list[tuple[int, int, int, int]] = []

    def size(node: int) -> int:
        return 1 if node < total else joins[node - total][3]

    def join(left: int, right: int, distance: int) -> int:
        joins.append((left, right, distance, size(left) + size(right)))
        return total + len(joins) - 1

    def whole(nodes: list[int]) -> int:
        while len(nodes) > 1:
            pairs = [join(left, right, -1) for left, right in zip(nodes[::2], nodes[1::2])]
            nodes = pairs + nodes[2 * len(pairs) :]
        return nodes[0]

    def halved(labels: Array) -> int:
        if len(labels) == 1:
            return roots[int(labels[0])]
        low, high = centers[labels].min(0), centers[labels].max(0)
        axis = int((high - low)[1] > (high - low)[0])
        first = centers[labels, axis] < (low + high)[axis] / 2
        if not first.any():  # all centers coincide
            first = np.arange(len(labels)) < len(labels) // 2
        return join(halved(labels[first]), halved(labels[~first]), 0)

    order = np.argsort(segments, axis=None, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(segments.ravel()))[:-1])
    centers = np.array([[(group // segments.shape[1]).mean(), (group % segments.shape[1]).mean()] for group in groups])
    roots = [whole(group.tolist()) for group in groups]
    halved(np.arange(len(groups)))
    return np.array(joins, dtype=np.float64)
