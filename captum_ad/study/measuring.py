"""Measure one unit: an attribution, its explanations, their ρ on backgrounds, and their localization."""

from __future__ import annotations

import math
import struct
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad._common.errors import EmptyExplanationWarning
from captum_ad._forwards.baseline_forward import MaskedForward, masked_forward
from captum_ad._methods import OVER_SUPERPIXELS, Task, explain, seeded
from captum_ad._scoring import Judge, ToConfidence, batch_of
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds
from captum_ad.metrics.controls import object_drop
from captum_ad.metrics.explanation import sufficient_explanation
from captum_ad.metrics.inputs import with_arguments
from captum_ad.metrics.insertion import deletion_curve
from captum_ad.metrics.localization import energy_pointing_game, pointing_game
from captum_ad.metrics.missingness import missingness_curve
from captum_ad.metrics.planting import planted_scores
from captum_ad.metrics.robustness import equal_size_masks
from captum_ad.metrics.scan import SufficientExplanation
from captum_ad.segmentation import superpixels
from captum_ad.study.contexts import of_model
from captum_ad.study.plan import Plan, Sample
from captum_ad.study.store import Measured
from captum_ad.study.units import OF_MASKING, Unit
from captum_ad.targets.base import Target, matrix, tensor_of

MAP_SIDE = 64
"""Pixels along the longer side of the maps that are recorded for a report."""


@dataclass(frozen=True)
class Prepared:
    """One input, ready to be explained by any method under any masking.

    Attributes
    ----------
    model : nn.Module
        The model, bound to the input's other arguments.
    sample : Sample
        The input.
    target : int or Target
        What is explained.
    confidence : float, optional
        The confidence in the class that the model gives; None for a given target.
    backgrounds : mapping
        Sets of backgrounds by name, drawn for that target.
    to_confidence : str or callable
        What a class index means.
    superpixels : Tensor, optional
        Labels of superpixels, if a method needs them.
    """

    model: nn.Module
    sample: Sample
    target: int | Target
    confidence: float | None
    backgrounds: Mapping[str, DrawnBackgrounds]
    to_confidence: ToConfidence
    superpixels: Tensor | None

    @property
    def named(self) -> int | str:
        """The target in the form of the records."""
        return self.target if isinstance(self.target, int) else repr(self.target)


class Measuring:
    """Measures units of a plan. What the units of an image share is computed once, if they come one after another.

    Parameters
    ----------
    plan : Plan
        The plan of the study.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._backgrounds: dict[str, dict[str, Backgrounds]] = {}
        self._of: tuple[str, str] | None = None
        self._image: Prepared | None = None

    def __call__(self, unit: Unit) -> Measured:
        """Measure one unit. The result depends only on the plan and the unit, not on what was measured before.

        Raises
        ------
        ValueError, TypeError, UnsupportedOperationError
            If the target or the masking does not fit the model, or a method does not return an attribution.
        """
        image = self.prepared(unit.model, unit.image)
        forward = masked_forward(image.model, self.plan.maskings[unit.masking])
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmptyExplanationWarning)
            if unit.method == OF_MASKING:
                rows = self._of_masking(unit, image, forward)
                seconds = time.perf_counter() - start
            else:
                attribution = self.attributed(unit, image, forward)
                rows, seconds = self._of_attribution(image, forward, attribution, start)
        sample, predicted = image.sample, image.target if isinstance(image.target, int) else None
        about = (sample.label, predicted, image.confidence, sample.picture)
        return Measured(image.named, seconds, rows, about)

    def prepared(self, model: str, name: str) -> Prepared:
        """An image as one model sees it, with the backgrounds for its answer."""
        if self._of == (model, name) and self._image is not None:
            return self._image
        plan, subject = self.plan, self.plan.subjects[model]
        if model not in self._backgrounds:
            self._backgrounds[model] = of_model(subject.model, subject.backgrounds)
        sample = subject.load(name)
        bound, x = with_arguments(subject.model, sample.more or None), sample.x
        target, confidence = (plan.target, None) if plan.target else _answer(bound, x, subject.to_confidence)
        drawn = {
            name: source.draw(bound, x, target, batch_size=plan.batch_size)
            for name, source in self._backgrounds[model].items()
        }
        labels = None
        if set(OVER_SUPERPIXELS) & {method for method in plan.methods.values() if isinstance(method, str)}:
            labels = superpixels(x, n_segments=plan.effort.segments, spatial_dims=x.dim() - 2).to(x.device)
        self._image = Prepared(bound, sample, target, confidence, drawn, subject.to_confidence, labels)
        self._of = (model, name)
        return self._image

    def attributed(self, unit: Unit, image: Prepared, forward: MaskedForward) -> Tensor:
        """The attribution of a unit's method."""
        plan, x, method = self.plan, image.sample.x, self.plan.methods[unit.method]
        if not isinstance(method, str):
            with seeded(plan.seed, x.device):
                return method(forward, x, image.target)
        labels = torch.zeros(1, dtype=torch.int64, device=x.device) if image.superpixels is None else image.superpixels
        batch, effort = batch_of(plan.batch_size, x.device), plan.effort
        task = Task(x, image.target, labels, effort.samples, batch, plan.seed, effort.window, image.to_confidence)
        return explain(image.model, method, plan.maskings[unit.masking], task).attribution

    def _of_attribution(
        self, image: Prepared, forward: MaskedForward, attribution: Tensor, start: float
    ) -> tuple[dict[str, list[tuple[Any, ...]]], float]:
        """The rows of an attribution, and the seconds from `start` to the end of the scan."""
        judges, x, size = self.plan.judges, image.sample.x, self.plan.batch_size
        asked: dict[str, Any] = {"to_confidence": image.to_confidence, "batch_size": size}
        ties = self.plan.target is None  # if two classes tie, neither is the answer, and nothing is found
        explanations = sufficient_explanation(
            forward, x, attribution, image.target, judges.gammas, step=judges.step, allow_other_target=ties, **asked
        )
        seconds = time.perf_counter() - start
        masks = torch.stack([one.mask for one in explanations])
        if judges.sizes:
            masks = torch.cat([masks, equal_size_masks(attribution, x, judges.sizes)])
        levels: list[SufficientExplanation | float] = [*explanations, *judges.sizes]
        rows = []
        for name, drawn in image.backgrounds.items():
            judge = Judge(image.target, image.to_confidence)
            scores = planted_scores(image.model, x, masks, drawn, judge, size)
            kept, confidence = (values.double().mean(1).tolist() for values in scores)
            for level, rho, planted in zip(levels, kept, confidence):
                rows.append((name, *_row(level, rho, planted), drawn.n, drawn.excluded))
        scores_of: list[tuple[Any, ...]] = [("insertion", None, float(explanations[0].curve.area))]
        if judges.deletion:
            curve = deletion_curve(forward, x, attribution, image.target, step=judges.step, **asked)
            scores_of.append(("deletion", None, float(curve.area)))
        if image.sample.box is not None:
            scores_of.append(("pointing", None, float(pointing_game(attribution, image.sample.box))))
            scores_of.append(("energy", None, energy_pointing_game(attribution, image.sample.box)))
        found = {"explanations": rows, "scores": scores_of}
        return found | ({"pictures": _pictures(attribution, explanations[-1])} if self.plan.pictures else {}), seconds

    def _of_masking(self, unit: Unit, image: Prepared, forward: MaskedForward) -> dict[str, list[tuple[Any, ...]]]:
        """Measure the masking itself; the same parts of the image are missing under every masking."""
        plan, sample = self.plan, image.sample
        seed = (plan.seed << 32) + zlib.crc32(unit.image.encode())
        asked: dict[str, Any] = {"to_confidence": image.to_confidence, "batch_size": plan.batch_size, "seed": seed}
        curve = missingness_curve(forward, [sample.x], [image.target], plan.judges.missingness, **asked)
        shares = curve.sizes.tolist()
        rows: list[tuple[Any, ...]] = []
        rows += [("missingness", share, float(kept)) for share, kept in zip(shares, curve.class_kept[0])]
        rows += [("missingness confidence", share, float(one)) for share, one in zip(shares, curve.confidence[0])]
        if sample.box is not None:
            drop = object_drop(forward, sample.x, sample.box, image.target, **asked)
            rows += [("object drop", None, drop.object), ("specific drop", None, drop.specific)]
        return {"scores": rows}


def _answer(model: nn.Module, x: Tensor, to_confidence: ToConfidence) -> tuple[int, float]:
    """The class that a model gives to an input, and its confidence; class 0 if there is a single logit."""
    with torch.no_grad():
        output = matrix(tensor_of(model(x)), "a study")
    target = int(output.argmax(1))
    judge = Judge(target, to_confidence)
    judge.bind(output)
    return target, float(judge(output)[0])


def _row(level: SufficientExplanation | float, rho: float, planted: float) -> tuple[Any, ...]:
    """The values of a row: threshold, whether found, size, confidence, ρ and confidence on backgrounds."""
    if not isinstance(level, SufficientExplanation):
        return (math.nan, True, level, math.nan, rho, planted)
    if not level.found:
        return (level.gamma, False, *(math.nan,) * 4)
    return (level.gamma, True, level.size, level.confidence, rho, planted)


def _pictures(attribution: Tensor, explanation: SufficientExplanation) -> list[tuple[str, bytes]]:
    """Small pictures of the attribution, and of the explanation at the last threshold."""
    heat = attribution.detach().double().cpu().reshape(-1, *attribution.shape[-2:]).sum(0)
    scale = float(heat.abs().max()) or 1.0
    found = [("map", _packed(127 * heat / scale))]
    return [*found, ("mask", _packed(127 * explanation.mask.double().cpu()))] if explanation.found else found


def _packed(values: Tensor) -> bytes:
    height, width = values.shape
    shrink = min(1.0, MAP_SIDE / max(height, width))
    sides = max(1, round(height * shrink)), max(1, round(width * shrink))
    small = F.adaptive_avg_pool2d(values[None, None], sides)[0, 0].round().to(torch.int8)
    return struct.pack("<HH", *sides) + zlib.compress(small.numpy().tobytes())


def unpacked(data: bytes) -> np.ndarray[Any, np.dtype[np.int8]]:
    """A unit's picture as an array, −127 to 127, shape (H, W)."""
    sides = struct.unpack("<HH", data[:4])
    return np.frombuffer(zlib.decompress(data[4:]), np.int8).reshape(sides)
