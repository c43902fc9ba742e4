"""Every metric of torchmetrics' kind: how it is made, what an update takes, and the function that it is the mean of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from captum_ad import ADForward
from captum_ad.metrics import (
    ActivationDeviation,
    AttentionCorrelation,
    ConfidenceDropOff,
    ConfidenceKept,
    ConfidenceOnBackgrounds,
    Deletion,
    EnergyPointingGame,
    ExplanationSize,
    FrameScore,
    GridPointingGame,
    Insertion,
    NoiseRobustness,
    PointingGame,
    RhoRobustness,
    SolidColors,
    SpecificDrop,
    activation_deviation,
    box_mask,
    confidence_drop_off,
    confidence_kept,
    confidence_on_backgrounds,
    deletion_curve,
    energy_pointing_game,
    explanation_size,
    grid_pointing_game,
    insertion_curve,
    object_drop,
    pointing_game,
    rho_robustness,
)

HEIGHT, WIDTH, CLASSES = 6, 5, 3
COLORS = SolidColors(n=7, seed=1)


def network() -> nn.Sequential:
    """Of the usual parts, batch statistics among them, and not too sure of its answers."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        norm, head = nn.BatchNorm2d(4), nn.Linear(4, CLASSES)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        body = (nn.Conv2d(2, 4, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        images = torch.rand(64, 2, HEIGHT, WIDTH)
        head.weight *= 2 / model(images).std(0)[:, None]
        head.bias -= model(images).mean(0)
    return model


MODEL = network()
AD = ADForward(MODEL)
INSIDE = box_mask((0, 0, 2, 3), HEIGHT, WIDTH)
"""Small enough to leave a control a place."""


def flipped(output: Tensor) -> Tensor:
    """Confidences by which the least likely class is the answer."""
    return (-output).softmax(1)


@dataclass(frozen=True)
class Sample:
    """Whatever an update may want."""

    inputs: Tensor
    explanation: Tensor
    attribution: Tensor
    target: int
    model: nn.Module = MODEL
    forward_func: nn.Module = AD
    inside: Tensor = INSIDE
    cell: int = 0

    def given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


def samples(n: int = 4, forward_func: nn.Module = AD) -> list[Sample]:
    generator = torch.Generator().manual_seed(n)
    found = []
    for i in range(n):
        x, attribution = torch.rand(2, 1, 2, HEIGHT, WIDTH, generator=generator)
        explanation = torch.rand(HEIGHT, WIDTH, generator=generator) < 0.6
        inside = box_mask((i % 3, 0, i % 3 + 2, 3), HEIGHT, WIDTH)
        found.append(
            Sample(
                x,
                explanation,
                attribution,
                int(MODEL(x).argmax()),
                forward_func=forward_func,
                inside=inside,
                cell=i % 4,
            )
        )
    return found


@dataclass(frozen=True)
class Case:
    """A class, how it is made, what an update takes, and the function that it is the mean of."""

    kind: type[Metric]
    settings: dict[str, Any]
    takes: tuple[str, ...]
    function: Callable[..., float]
    others: dict[str, Any]
    """Settings that make a difference."""

    @property
    def name(self) -> str:
        return self.kind.__name__

    def make(self, **more: Any) -> Any:
        return self.kind(**{**self.settings, **more})

    def expected(self, measured: Sequence[Sample], **more: Any) -> float:
        settings = {**self.settings, **more}
        return statistics.fmean(self.function(**sample.given(*self.takes), **settings) for sample in measured)

    def fed(self, measured: Sequence[Sample], metric: Any = None, **more: Any) -> Any:
        metric = self.make(**more) if metric is None else metric
        for sample in measured:
            metric.update(**sample.given(*self.takes))
        return metric


PLANTED = ("model", "inputs", "explanation", "target")
ALONE = ("forward_func", "inputs", "explanation", "target")
RANKED = ("forward_func", "inputs", "attribution", "target")
CASES = {
    case.name: case
    for case in (
        Case(
            RhoRobustness,
            {"backgrounds": COLORS},
            PLANTED,
            lambda **given: rho_robustness(**given).rho,
            {"backgrounds": SolidColors(n=9, seed=3), "to_confidence": flipped},
        ),
        Case(
            ConfidenceOnBackgrounds,
            {"backgrounds": COLORS},
            PLANTED,
            confidence_on_backgrounds,
            {"backgrounds": SolidColors(n=9, seed=3), "to_confidence": "sigmoid"},
        ),
        Case(ExplanationSize, {}, ("inputs", "explanation"), explanation_size, {}),
        Case(ConfidenceKept, {}, ALONE, confidence_kept, {"to_confidence": "sigmoid"}),
        Case(ConfidenceDropOff, {}, ALONE, confidence_drop_off, {"to_confidence": "sigmoid"}),
        Case(
            Insertion,
            {},
            RANKED,
            lambda **given: insertion_curve(**given).area,
            {"to_confidence": "sigmoid", "step": 7},
        ),
        Case(
            Deletion, {}, RANKED, lambda **given: deletion_curve(**given).area, {"to_confidence": "sigmoid", "step": 7}
        ),
        Case(PointingGame, {}, ("attribution", "inside"), pointing_game, {"tolerance": 5.0}),
        Case(EnergyPointingGame, {}, ("attribution", "inside"), energy_pointing_game, {}),
        Case(GridPointingGame, {}, ("attribution", "cell"), grid_pointing_game, {"grid": (2, 3)}),
        Case(
            SpecificDrop,
            {},
            ("forward_func", "inputs", "inside", "target"),
            lambda **given: object_drop(**given).specific,
            {"to_confidence": "sigmoid", "controls": 2, "seed": 1},
        ),
        Case(
            ActivationDeviation,
            {"layers": ["1"]},
            ("forward_func", "inputs", "explanation"),
            lambda **given: activation_deviation(**given).mean,
            {"layers": ["0"], "over": "everywhere"},
        ),
    )
}


OTHERS = {"AttentionCorrelation": AttentionCorrelation, "FrameScore": FrameScore, "NoiseRobustness": NoiseRobustness}
"""Classes that are not means of a function of these samples; they have tests of their own."""

every_class = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def value(metric: Any) -> float:
    found = metric.compute()
    assert (found.dtype, found.shape) == (torch.float64, ())
    return float(found)
