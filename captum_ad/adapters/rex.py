"""ReX (rex-xai, arXiv 2411.08875) with Activation-Deactivation: hidden pixels are missing, not painted.

A script for its command line, ``ReX photo.jpg --script script.py --config rex.toml --output explanation.png``::

    from captum_ad import ADForward
    from captum_ad.demo import efficientnet_lite0
    from captum_ad.adapters.rex import script

    model, transform = efficientnet_lite0()
    preprocess, prediction_function, model_shape = script(ADForward(model), transform)

``rex.toml`` must contain ``mask_value = "none"`` under ``[rex]``: hidden pixels are then NaN, which an
:class:`~captum_ad.ADForward` treats as missing. From Python, pass the same object as ReX's ``args.script``.
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
    """The names that ReX looks for in a script file or in ``args.script``."""

    preprocess: Callable[..., Any]
    prediction_function: Callable[..., Any]
    model_shape: list[Any]


def script(
    forward: nn.Module, transform: Transform, *, to_confidence: ToConfidence = "softmax", batch_size: int | None = None
) -> Script:
    """Everything that ReX needs, to unpack in a script file; see the other two functions for parameters and errors."""
    load = preprocess(forward, transform)
    predict = prediction_function(forward, to_confidence=to_confidence, batch_size=batch_size)
    return Script(load, predict, ["N", len(_transformed(transform, Image.new("RGB", (256, 256)))), "H", "W"])


def prediction_function(
    forward: nn.Module, *, to_confidence: ToConfidence = "softmax", batch_size: int | None = None
) -> Callable[..., Any]:
    """The function that ReX calls to classify a batch of mutants.

    Parameters
    ----------
    forward : ADForward or BaselineForward
        The model, in eval mode. Pixels that are NaN are missing to an ADForward; a BaselineForward paints them.
    to_confidence : str or callable
        How to turn outputs (N, classes) into confidences: ``"softmax"``, ``"sigmoid"``, ``"none"`` for a
        model that ends in one of these, or a function.
    batch_size : int, optional
        Mutants per forward; ReX passes 14 or more at once. Default: 4 on the CPU, else 32.

    Returns
    -------
    callable
        A function of (mutants, target=None, raw=False): mutants are floats of shape (N, C, *spatial), and target
        is a ``Prediction`` of ReX. It returns N predictions or, if `raw`, the confidences, shape (N, classes).

    Raises
    ------
    TypeError, ValueError
        If `forward` takes no masks or is in train mode; when called, if its output is NaN or not (N, classes).
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
                f"the model returned shape {tuple(confidences.shape)}, expected ({len(x)}, classes) with at least two "
                "classes"
            )
        if raw:  # for insertion curves, with rows that ReX neither wrote nor reads
            return confidences
        if bool(confidences.isnan().any()):
            raise ValueError(
                "the model returned NaN for a mutant, which ReX would take for some class: check the model; with a "
                "baseline that is computed from the whole image, load data by captum_ad.adapters.rex.preprocess"
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
        Determines what hidden pixels become: NaN, or its baseline, computed from the whole image.
    transform : callable
        Converts an RGB PIL image to the model's input, shape (1|3, H, W). It must be deterministic.

    Returns
    -------
    callable
        A function of an image, a path or a PIL image; ReX's other arguments are ignored. It returns ReX's ``Data``
        on the model's device, whatever ``gpu`` is. Its ``input`` is the image as the model sees it, for plots.
        Its ``set_mask_value`` only accepts ``"none"``.

    Raises
    ------
    TypeError, ValueError, ImportError
        As in :func:`prediction_function`; when called, ValueError if the transform returns another shape.
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
            f"expected an ADForward or a BaselineForward, got {type(forward).__name__}, which does not take masks: "
            "wrap the model, ADForward(model)"
        )
    in_eval_mode(forward.model)


def _only_none(given: object) -> None:
    """Replaces ``Data.set_mask_value``, which would make ReX paint; how to hide pixels is already set."""
    if given != "none":
        raise ValueError(
            f"mask_value is {given!r}, with which ReX would paint hidden pixels, and they would not be missing: "
            'set mask_value = "none" under [rex] in rex.toml, or args.mask_value = "none" in Python'
        )


def _painted(forward: BaselineForward, mask: Tensor, x: Tensor) -> Tensor:
    masks = mask.reshape(-1, *x.shape[1:])  # one mask (C, H, W), or a batch of them, for a single image
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
        raise ValueError(f"the transform returned {what} for an RGB image, expected a tensor of shape (1|3, H, W)")
    return x


def _view(image: Image.Image, x: Tensor, transform: Transform) -> Image.Image:
    """The transformed image, with normalization undone by comparison with transformed black and white images."""
    low, high = (transform(Image.new("RGB", image.size, color)) for color in ("black", "white"))
    low, high = low.amin((1, 2), keepdim=True), high.amax((1, 2), keepdim=True)
    pixels = (255 * (x - low) / (high - low)).nan_to_num().round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
