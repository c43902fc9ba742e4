"""Are attributions under AD more stable under noise than under paint? See :func:`captum_ad.metrics.noise_responses`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from captum.attr import LayerGradCam, Saliency
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from captum_ad._methods import explain
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.masking_names import UNMASKED
from captum_ad.metrics.noise import Attribute, noise_responses

NOISES = ("gaussian", "blur", "jpeg", "contrast")
LEVELS = (2, 5)


def run(case: Case) -> Iterator[Found]:
    """Occlusion under every masking, and two methods that mask nothing."""
    for method, masking, attribute in _methods(case):
        found = noise_responses(
            case.model, case.x, attribute, NOISES, LEVELS, mean=case.mean, std=case.std, seed=case.seed
        )
        alike = {
            value: [one.similarity for one in found if one.class_kept == value and not math.isnan(one.similarity)]
            for value in (True, False)
        }
        yield method, masking, "consistency", _mean(alike[True])
        yield method, masking, "responsiveness", 1 - _mean(alike[False])
        yield method, masking, "samples that changed class", float(len(alike[False]))


def _methods(case: Case) -> Iterator[tuple[str, str, Attribute]]:
    def occlusion(name: str) -> Attribute:
        def attribute(x: Tensor, target: int) -> Tensor:
            task = replace(case.task, x=x, target=target)
            return explain(case.model, "occlusion", case.maskings[name], task).attribution

        return attribute

    for name in case.maskings:
        yield "Occlusion", name, occlusion(name)
    last = [module for module in case.model.modules() if isinstance(module, _ConvNd)][-1]
    cam, saliency = LayerGradCam(case.model, last), Saliency(case.model)

    def of_cam(x: Tensor, target: int) -> Any:
        return cam.attribute(x, target, relu_attributions=True)

    def of_saliency(x: Tensor, target: int) -> Any:
        return saliency.attribute(x.requires_grad_(), target)

    yield "Grad-CAM", UNMASKED, of_cam
    yield "Saliency", UNMASKED, of_saliency


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


STUDY = Study(
    run,
    "Rank-biased overlap (p = .9) of quickshift segments, clean and noisy; gaussian noise, blur, JPEG and contrast at "
    "levels 2 and 5. Larger is better.",
    compared=("consistency", "responsiveness"),
    product=("consistency", "responsiveness", "robustness"),
)
