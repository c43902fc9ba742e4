"""LIME as the package ``lime`` computes it, with superpixels switched off instead of painted.

``captum_ad.adapters.lime.LimeImageExplainer`` replaces ``lime.lime_image.LimeImageExplainer``. Only the
samples differ: they are masks, which the classifier gets together with the image. Sampling,
distances, regression and the explanation are lime's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm.auto import tqdm

from captum_ad._common.extras import needed
from captum_ad._common.geometry import segment_labels
from captum_ad.adapters.classifier import MaskedClassifier, check_classifier

__all__ = ["LimeImageExplainer", "MaskedClassifier"]

_Explainer: Any = needed("lime.lime_image", "lime", "lime").LimeImageExplainer

Array = npt.NDArray[Any]


class LimeImageExplainer(_Explainer):  # type: ignore[misc]
    """``lime.lime_image.LimeImageExplainer`` without a `hide_color`: hidden superpixels are missing.

    It takes the arguments of lime's explainer. With the same ``random_state`` it draws the same samples.

    Examples
    --------
    >>> import torch
    >>> from captum_ad import ADForward
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> classifier = MaskedClassifier(
    ...     ADForward(model.eval()),
    ...     transform=lambda photograph: torch.tensor(np.asarray(photograph) / 255).permute(2, 0, 1).float(),
    ...     mask_transform=lambda labels: labels,
    ... )
    >>> explanation = LimeImageExplainer(random_state=0).explain_instance(
    ...     np.full((4, 4, 3), 200, dtype=np.uint8),
    ...     classifier,
    ...     segmentation_fn=lambda image: np.arange(16).reshape(4, 4) // 4,
    ...     num_samples=20,
    ...     progress_bar=False,
    ... )
    >>> sorted(int(segment) for segment, weight in explanation.local_exp[0])
    [0, 1, 2, 3]
    """

    _progress_bar = True
    _wanted: tuple[int, ...] = ()

    def explain_instance(
        self,
        image: Array,
        classifier_fn: Callable[[Array, Array], Array],
        labels: Iterable[int] = (1,),
        hide_color: None = None,
        top_labels: int | None = 5,
        num_features: int = 100000,
        num_samples: int = 1000,
        batch_size: int = 10,
        segmentation_fn: Callable[[Array], Array | Tensor] | None = None,
        distance_metric: str = "cosine",
        model_regressor: Any = None,
        random_seed: int | None = None,
        progress_bar: bool = True,
    ) -> Any:
        """Explain a prediction like lime.

        Parameters
        ----------
        image : array
            The photograph, shape (H, W, 3), or (H, W), which is converted to (H, W, 3).
        classifier_fn : MaskedClassifier or callable
            Takes images (n, H, W, 3), n copies of the unchanged photograph, and masks (n, H, W), bool,
            True = keep; returns probabilities (n, classes) or, for a regression, any numbers (n, 1) or (n,).
        hide_color : None
            Must be None.
        segmentation_fn : callable, optional
            Takes the image, and returns any integer labels, an array or tensor of shape (H, W) or
            (1, 1, H, W), e.g. :func:`captum_ad.segmentation.superpixels`. Default: lime's.
        labels, top_labels, num_features, num_samples, distance_metric, model_regressor, random_seed
            As in lime.
        batch_size : int
            Samples per call of `classifier_fn`.
        progress_bar : bool
            Whether to show a progress bar.

        Returns
        -------
        lime.lime_image.ImageExplanation
            Its ``segments`` are numbered 0 to n-1, in the order of the labels from `segmentation_fn`.

        Raises
        ------
        TypeError, ValueError
            If `hide_color` is given, the classifier takes no masks or does not return probabilities,
            or the segments are fewer than two or do not have the image's shape.
        """
        if hide_color is not None:
            raise ValueError(
                f"got hide_color={hide_color!r}, but hidden superpixels are missing here, not painted: "
                "leave it out, or give MaskedClassifier a BaselineForward, which paints"
            )
        if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or image.size == 0:
            what = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"the image must be an array (H, W, 3) or (H, W), got {what}: use np.asarray(image)")
        check_classifier(classifier_fn, "classifier_fn")
        segment = segmentation_fn
        self._progress_bar = progress_bar
        labels = tuple(labels)
        self._wanted = () if top_labels else labels
        return super().explain_instance(
            image,
            classifier_fn,
            labels=labels,
            hide_color=0,  # otherwise lime would compute unused mean colors of all segments
            top_labels=top_labels,
            num_features=num_features,
            num_samples=num_samples,
            batch_size=batch_size,
            segmentation_fn=None
            if segment is None
            else lambda picture: segment_labels(segment(picture), picture.shape[:2]),
            distance_metric=distance_metric,
            model_regressor=model_regressor,
            random_seed=random_seed,
        )

    def data_labels(
        self,
        image: Array,
        fudged_image: Any,
        segments: Array,
        classifier_fn: Callable[[Array, Array], Array],
        num_samples: int,
        batch_size: int = 10,
        progress_bar: bool = True,
    ) -> tuple[Array, Array]:
        """Samples of superpixels, the first with all of them, and the classifier's probabilities for each.

        Parameters
        ----------
        image : array
            Shape (H, W, C).
        fudged_image
            Not used; lime paints with it.
        segments : array
            Labels, shape (H, W).
        classifier_fn, num_samples, batch_size, progress_bar
            As for :meth:`explain_instance`.

        Returns
        -------
        data : array
            0 or 1, shape (num_samples, segments), as drawn by lime with the same ``random_state``.
        labels : array
            Probabilities, shape (num_samples, classes).
        """
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        columns = segment_labels(segments, (image.shape[0], image.shape[1]))
        count = int(columns.max()) + 1
        data: Array = self.random_state.randint(0, 2, num_samples * count).reshape(num_samples, count)
        data[0] = 1
        probabilities = []
        with tqdm(total=num_samples, disable=not (progress_bar and self._progress_bar)) as progress:
            for start in range(0, num_samples, batch_size):
                masks = data[start : start + batch_size].astype(bool)[:, columns]
                images = np.broadcast_to(image, (len(masks), *image.shape))
                output = classifier_fn(images, masks)
                probabilities.append(_checked(output, len(masks), numbers=_says_numbers(classifier_fn)))
                if any(label >= probabilities[0].shape[1] for label in self._wanted):
                    raise ValueError(
                        f"labels={self._wanted}, but the classifier returned {probabilities[0].shape[1]} columns: pass "
                        "labels of these columns, counted from 0, or top_labels=1"
                    )
                progress.update(len(masks))
        return data, np.concatenate(probabilities)


def _says_numbers(function: Any) -> bool:
    """Whether a classifier's settings say that its model returns numbers that are not probabilities."""
    if not isinstance(function, MaskedClassifier):
        return False
    return getattr(function.forward, "target", None) is not None or function.to_confidence == "none"


def _checked(output: Any, count: int, *, numbers: bool) -> Array:
    """Check that lime can explain what a classifier returned for a batch."""
    given = output.detach().cpu().numpy() if isinstance(output, Tensor) else np.asarray(output)
    given = given.copy()  # it may be a view of a buffer that the classifier reuses in each call
    given = given[:, None] if given.ndim == 1 else given  # one number per image, as in a regression
    if given.ndim != 2 or len(given) != count:
        raise ValueError(
            f"the classifier returned shape {given.shape} for {count} samples, expected ({count}, classes)"
        )
    if not np.isfinite(given).all():
        raise ValueError("the classifier returned NaN or Inf: there is nothing to explain")
    if given.shape[1] > 1 and not numbers and not -1e-6 <= given.min() <= given.max() <= 1 + 1e-6:
        raise ValueError(
            f"the classifier returned values from {given.min():.3g} to {given.max():.3g}, expected probabilities: "
            "apply a softmax, or use MaskedClassifier(..., to_confidence='softmax')"
        )
    return given
