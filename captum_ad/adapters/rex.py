"""ReX (rex-xai, arXiv 2411.08875) with Activation-Deactivation: what it hides is missing, not painted.

A script for its command line, ``ReX photo.jpg --script script.py --config rex.toml --output explanation.png``::

    from captum_ad import ADForward
    from captum_ad.demo import efficientnet_lite0
    from captum_ad.adapters.rex import script

    model, transform = efficientnet_lite0()
    preprocess, prediction_function, model_shape = script(ADForward(model), transform)

``rex.toml`` has to say ``mask_value = "none"`` under ``[rex]``: hidden pixels are then NaN, which an
:class:`~captum_ad.ADForward` takes for missing. From Python the same object is ReX's ``args.script``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import BaselineForward, MaskedForward
from captum_ad._scoring import ToConfidence, batch_of, in_eval_mode
from captum_ad.targets.classes import checked_confidence

Transform = Callable[[Image.Image], Tensor]


class Script(NamedTuple):
    """What ReX looks for in a script file, or in ``args.script``."""

    preprocess: Callable[..., Any]
    prediction_function: Callable[..., Any]
    model_shape: list[Any]


def script(
    forward: nn.Module, transform: Transform, *, to_confidence: ToConfidence = "softmax", batch_size: int | None = None
) -> Script:
    """Everything that ReX needs, to be unpacked in a script file; see the two functions for parameters and errors."""
    load = preprocess(forward, transform)
    predict = prediction_function(forward, to_confidence=to_confidence, batch_size=batch_size)
    return Script(load, predict, ["N", len(_transformed(transform, Image.new("RGB", (256, 256)))), "H", "W"])


def prediction_function(
    forward: nn.Module, *, to_confidence: ToConfidence = "softmax", batch_size: int | None = None
) -> Callable[..., Any]:
    """The function that ReX asks what a model sees in a batch of mutants.

    Parameters
    ----------
    forward : ADForward or BaselineForward
        The model in eval mode. To an ADForward a pixel that is NaN is missing; a BaselineForward paints it.
    to_confidence : str or callable
        From the model's output (N, classes) to confidences: ``"softmax"``, ``"sigmoid"``, ``"none"`` for a
        model that ends in one, or a function.
    batch_size : int, optional
        Mutants per forward, of the 14 and more that ReX passes at once. Default: 4 on the CPU, else 32.

    Returns
    -------
    callable
        Of (mutants, target=None, raw=False), mutants float, shape (N, C, *spatial), target a
        ``Prediction`` of ReX's. It returns N of those; if `raw`, the confidences, shape (N, classes).

    Raises
    ------
    TypeError, ValueError
        If `forward` takes no masks or is in train mode. When called: if its output is NaN or not (N, classes).
    ImportError
        If rex-xai is missing.
    """
    _takes_masks(forward)
    prediction = needed("rex_xai.responsibility.prediction", "rex-xai", "rex").Prediction
    to_confidence = checked_confidence(to_confidence)

    def predict(mutants: Tensor, target: Any = None, raw: bool = False) -> Any:
        x = _like(forward, mutants)
        if not len(x):
            raise ValueError("ReX tried all pixels and found no explanation: lower minimum_confidence_threshold")
        with torch.no_grad():
            parts = x.split(batch_of(batch_size, x.device))
            confidences = torch.cat([to_confidence(_output(forward, part)) for part in parts])
        if confidences.dim() != 2 or len(confidences) != len(x) or confidences.shape[1] < 2:
            raise ValueError(
                f"the model gives {tuple(confidences.shape)}, expected ({len(x)}, classes), at least two classes"
            )
        if raw:  # for its insertion curves, with rows that ReX neither wrote nor reads
            return confidences
        if bool(confidences.isnan().any()):
            raise ValueError(
                "the model gives NaN for a mutant, which ReX would take for some class (of a baseline that is computed "
                "from the whole image: let captum_ad.adapters.rex.preprocess make the data)"
            )
        best, classes = confidences.max(1)
        of_target = [None] * len(x) if target is None else confidences[:, target.classification].tolist()
        rows = zip(classes.tolist(), best.tolist(), of_target)
        return [prediction(k, confidence, target=target, target_confidence=t) for k, confidence, t in rows]

    return predict


def preprocess(forward: nn.Module, transform: Transform) -> Callable[..., Any]:
    """The function that loads an image for ReX.

    Parameters
    ----------
    forward : ADForward or BaselineForward
        Decides what hidden pixels become: NaN, or its baseline, computed from the whole image.
    transform : callable
        From an RGB PIL image to the model's input, shape (1|3, H, W), without chance.

    Returns
    -------
    callable
        Of an image, as a path or a PIL image; what else ReX passes is ignored. It returns ReX's ``Data``,
        on the model's device whatever ``gpu`` says, with the model's view of the image as ``input``, to
        draw on. Its ``set_mask_value`` takes ``"none"`` only.

    Raises
    ------
    TypeError, ValueError, ImportError
        As for :func:`prediction_function`. When called: ValueError if the transform gives another shape.
    """
    _takes_masks(forward)
    data_class = needed("rex_xai.input.input_data", "rex-xai", "rex").Data

    def load(image: str | Path | Image.Image, *shape_and_device: Any) -> Any:
        if not isinstance(image, Image.Image):
            with Image.open(image) as opened:
                image = ImageOps.exif_transpose(opened)
        image = image.convert("RGB")
        x = _transformed(transform, image)
        inputs = _like(forward, x[None])
        data = data_class(_view(image, x, transform), ["N", *x.shape], inputs.device, mode="RGB", process=True)
        data.data = inputs
        data.mask_value = partial(_painted, forward) if isinstance(forward, BaselineForward) else math.nan
        data.set_mask_value = _only_none
        return data

    return load


def _takes_masks(forward: nn.Module) -> None:
    if not isinstance(forward, MaskedForward):
        raise TypeError(
            f"expected an ADForward or a BaselineForward, got {type(forward).__name__}, which cannot be told what ReX "
            "hides: wrap the model, ADForward(model)"
        )
    in_eval_mode(forward.model)


def _only_none(given: object) -> None:
    """In place of ``Data.set_mask_value``, which would have ReX paint; how to hide pixels is set already."""
    if given != "none":
        raise ValueError(
            f"mask_value is {given!r}: ReX would paint what it hides, and the model would not know that it is missing. "
            'Write mask_value = "none" under [rex] in rex.toml, in Python args.mask_value = "none"'
        )


def _painted(forward: BaselineForward, mask: Tensor, x: Tensor) -> Tensor:
    masks = mask.reshape(-1, *x.shape[1:])  # one, (C, H, W), or a batch of them, for the one image
    return forward.painted(x.expand(len(masks), *x.shape[1:]), masks)


def _output(forward: nn.Module, x: Tensor) -> Tensor:
    if isinstance(forward, BaselineForward) and bool((missing := x.isnan()).any()):
        x = forward.painted(x, ~missing)
    output: Any = forward(x)
    if not isinstance(output, Tensor):
        raise TypeError(f"the model returned {type(output).__name__}, expected a tensor: wrap it, or use select=")
    return output.to(torch.promote_types(output.dtype, torch.float32))


def _like(forward: nn.Module, x: Tensor) -> Tensor:
    parameter = next((p for p in forward.parameters() if p.is_floating_point()), None)
    return x if parameter is None else x.to(parameter)


def _transformed(transform: Transform, image: Image.Image) -> Tensor:
    x = transform(image)
    if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[0] not in (1, 3):
        what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"the transform gives {what} for an RGB image, expected a tensor of shape (1|3, H, W)")
    return x


def _view(image: Image.Image, x: Tensor, transform: Transform) -> Image.Image:
    """What the transform leaves of an image, its normalization undone by what it makes of black and white."""
    low, high = (transform(Image.new("RGB", image.size, color)) for color in ("black", "white"))
    low, high = low.amin((1, 2), keepdim=True), high.amax((1, 2), keepdim=True)
    pixels = (255 * (x - low) / (high - low)).nan_to_num().round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
