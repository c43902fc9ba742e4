"""MaskedClassifier: wraps a forward that takes masks as the function of photographs that lime and shap call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._common.geometry import MaskTransform, carry_masks, source_positions
from captum_ad._forwards.answers import Answering
from captum_ad._scoring import TO_CONFIDENCE, ToConfidence


class MaskedClassifier:
    """``classifier(images, masks)`` returns a model's confidences for photographs with missing parts.

    The transform is applied to the unchanged photograph, and its geometry to the mask
    (:func:`captum_ad._common.geometry.source_positions`); both once per photograph, not once per mask.

    Parameters
    ----------
    forward : ADForward, BaselineForward or callable
        Takes the model's input (n, C, h, w) and ``mask=``, bool (n, h, w), True = keep; returns
        (n, classes). The input is moved to the device of its first parameter.
    transform : callable
        Converts the photograph to the model's input (C, h, w). A uint8 array of shape (H, W, 3) or (H, W, 1)
        is passed as a PIL image, any other array as it is.
    to_confidence : str or callable
        ``"softmax"``, ``"sigmoid"``, ``"none"`` (for a model that ends in one of these, or returns other numbers), or a
        function of (n, classes). If `forward` has a target, it is not used, and the only column is the confidence in
        the target.
    mask_transform : callable, optional
        For transforms that are not from torchvision: converts an int64 label map (H, W) to one for the
        model's input (h, w), by nearest neighbor, with 0 for padding.

    Raises
    ------
    TypeError, ValueError
        If `forward` takes no masks, the transform is not a function, or `to_confidence` is unknown.

    Examples
    --------
    >>> from captum_ad import BaselineForward
    >>> model = nn.Flatten().eval()
    >>> scale = lambda array: torch.from_numpy(array).permute(2, 0, 1)
    >>> classifier = MaskedClassifier(
    ...     BaselineForward(model, 0.0), scale, to_confidence="none", mask_transform=lambda labels: labels
    ... )
    >>> classifier(np.full((2, 1, 3, 1), 0.5), np.array([[[True, True, True]], [[True, False, True]]]))
    array([[0.5, 0.5, 0.5],
           [0.5, 0. , 0.5]])
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        transform: Callable[..., Tensor],
        *,
        to_confidence: ToConfidence = "softmax",
        mask_transform: MaskTransform | None = None,
    ) -> None:
        if not takes_mask(forward):
            raise TypeError(
                f"{describe(forward)} takes no mask=, so nothing could be hidden from it: wrap the model, "
                "MaskedClassifier(ADForward(model), transform)"
            )
        for name, given in (("transform", transform), ("mask_transform", mask_transform)):
            if not callable(given) and (given is not None or name == "transform"):
                raise TypeError(f"{name} must be a function, got {type(given).__name__}")
        if isinstance(to_confidence, str) and to_confidence not in TO_CONFIDENCE:
            raise UnknownNameError("to_confidence", to_confidence, TO_CONFIDENCE)
        self.forward = forward
        self.transform = transform
        self.to_confidence = to_confidence
        self.mask_transform = mask_transform
        self._last: tuple[npt.NDArray[Any], Tensor, Tensor] | None = None

    def __call__(self, images: npt.ArrayLike, masks: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
        """The model's confidences.

        Parameters
        ----------
        images : array
            Shape (n, H, W, C). Equal ones are transformed once.
        masks : array
            bool, shape (n, H, W), True = keep. Required: None would mean that a masker has already painted the images.

        Returns
        -------
        array
            Shape (n, classes), finite, float32 or wider.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, the transform or the model returns something invalid, or the
            model is in train mode.
        """
        if masks is None:
            raise TypeError(
                "MaskedClassifier got images without masks, so they have been painted already. With shap, give its "
                "Explainer captum_ad.adapters.shap.ImageMasker(image.shape); with lime, use "
                "captum_ad.adapters.lime.LimeImageExplainer"
            )
        pictures, kept = np.asarray(images), np.asarray(masks)
        if pictures.ndim != 4 or kept.shape != pictures.shape[:3] or kept.dtype != np.bool_ or not len(kept):
            raise ValueError(
                f"got images {pictures.shape} and masks {kept.shape} of {kept.dtype}, expected images (n, H, W, C) and "
                "masks (n, H, W) of bool"
            )
        model = getattr(self.forward, "model", self.forward)
        if getattr(model, "training", False):
            raise ValueError(f"{describe(model)} is in train mode, which mixes samples: call model.eval() first")
        x, sources = self._inputs(pictures)
        mask = carry_masks(torch.tensor(kept), sources).to(x.device)
        with torch.no_grad():
            if isinstance(self.forward, Answering) and self.forward.target is not None:
                return self._of_target(self.forward, x, mask)
            return self._confidences(self.forward(x, mask=mask), len(kept))

    def _inputs(self, pictures: npt.NDArray[Any]) -> tuple[Tensor, Tensor]:
        """The model's input (n, C, h, w) on its device, and the source positions, which all samples share."""
        parameters = self.forward.parameters() if isinstance(self.forward, nn.Module) else iter(())
        device = next((parameter.device for parameter in parameters), None)
        if pictures.strides[0] == 0 or bool((pictures[1:] == pictures[:1]).all()):
            x, sources = self._prepared(pictures[0])
            return x.to(device).expand(len(pictures), *x.shape), sources
        prepared = [self._prepared(picture) for picture in pictures]
        return torch.stack([x for x, _ in prepared]).to(device), prepared[0][1]

    def _prepared(self, picture: npt.NDArray[Any]) -> tuple[Tensor, Tensor]:
        """The model's input (C, h, w), and for each of its positions the source position in the picture."""
        if self._last is None or self._last[0].dtype != picture.dtype or not np.array_equal(self._last[0], picture):
            sources = source_positions((picture.shape[0], picture.shape[1]), self.transform, self.mask_transform)
            self._last = (picture.copy(), self._transformed(picture, tuple(sources.shape)), sources)
        return self._last[1:]

    def _transformed(self, picture: npt.NDArray[Any], shape: tuple[int, ...]) -> Tensor:
        image: Any = picture
        if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
            image = needed("PIL.Image", "pillow", "demo").fromarray(
                picture[:, :, 0] if picture.shape[2] == 1 else picture
            )
        got = f"{type(image).__name__} of shape {picture.shape}, {picture.dtype}"
        try:
            x = self.transform(image)
        except (TypeError, AttributeError) as error:
            raise TypeError(
                f"the transform fails on {got} (uint8 arrays are passed as PIL images, others as they are): {error}"
            ) from error
        if not isinstance(x, Tensor) or x.dim() not in (3, 4) or (x.dim() == 4 and x.shape[0] != 1):
            what = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"the transform returned {what} for {got}, expected the model's input, a tensor (C, h, w)")
        x = x[0] if x.dim() == 4 else x
        if x.shape[1:] != shape:
            raise ValueError(
                f"the transform turns the photograph into shape {tuple(x.shape)} but its mask into {shape}: "
                "pass a mask_transform= with the same geometry as the transform"
            )
        return x

    def _of_target(self, forward: Answering, x: Tensor, mask: Tensor) -> npt.NDArray[Any]:
        """The confidence in the forward's own target, shape (n, 1)."""
        known = forward.bound(x)
        assert known.target is not None
        found = known.target.confidence(known.outputs(x, mask=mask))
        if not bool(found.isfinite().all()):
            raise ValueError("the model returned NaN or Inf for a masked input: there is nothing to explain")
        confidences: npt.NDArray[Any] = found[:, None].cpu().numpy()
        return confidences

    def _confidences(self, output: Any, count: int) -> npt.NDArray[Any]:
        if isinstance(output, Tensor) and output.shape == (count,):
            output = output[:, None]  # one number per image, as in a regression
        if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != count:
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"the model returned {what} for {count} inputs, expected (n, classes)")
        if self.to_confidence == "softmax" and output.shape[1] == 1:
            raise ValueError("the softmax of a single output is always 1: pass to_confidence='sigmoid'")
        output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
        to_confidence = TO_CONFIDENCE[self.to_confidence] if isinstance(self.to_confidence, str) else self.to_confidence
        confidences: npt.NDArray[Any] = to_confidence(output).cpu().numpy()
        if not np.isfinite(confidences).all():
            raise ValueError("the model returned NaN or Inf for a masked input: there is nothing to explain")
        return confidences


def takes_mask(forward: Any) -> bool:
    """Whether a forward has an argument `mask`."""
    if isinstance(forward, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        forward = forward.module
    try:
        return "mask" in inspect.signature(forward.forward if isinstance(forward, nn.Module) else forward).parameters
    except (TypeError, ValueError):  # not a function, or one without a signature
        return False


def describe(thing: Any) -> str:
    """Describe an argument: the name of a function, or the type of an object."""
    return getattr(thing, "__qualname__", None) or type(thing).__name__


def check_classifier(function: Any, name: str) -> None:
    """Check that a classifier takes photographs and masks.

    Raises
    ------
    TypeError
        If it does not; the message says what to pass instead.
    """
    if isinstance(function, MaskedClassifier):
        return
    if takes_mask(function) and hasattr(function, "forward"):
        raise TypeError(
            f"{name} is {describe(function)}, which takes the model's input, not a photograph: give it a transform, "
            "MaskedClassifier(forward, transform)"
        )
    if not callable(function) or not _takes_two(function):
        raise TypeError(
            f"{name} is {describe(function)}, which takes no masks: pass MaskedClassifier(ADForward(model), "
            "transform), or a function of (images, masks)"
        )


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function has a second argument for masks: one with that name, or without a default."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # no signature available
        return True
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return not hasattr(function, "forward")  # a plain nn.Module shows *args
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and (places[1].default is inspect.Parameter.empty or places[1].name.startswith("mask"))
