"""Masks learned under AD and under paint, with two gradients. See :class:`captum_ad.attr.FEI`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.attr.fei import FEI
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.insertion import deletion_curve, insertion_curve

SIDE = 128
"""Photographs are resized to this many pixels, because learning a mask under AD takes many gradients."""

NEUTRAL = "blur"
"""A masking that judges all maps but makes none."""

STEPS = 16
"""Steps of the curves."""

LEARNING: dict[str, Any] = {"n_steps": 24, "quantiles_per_step": 2, "side": 8}


def run(case: Case) -> Iterator[Found]:
    """Judge every map under every masking, so that all maps have the same judges."""
    x = case.x
    if max(x.shape[2:]) > SIDE:
        x = functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    small = replace(case, x=x, window=x.shape[-1] // 4, _attributions={})
    judges = {name: masked_forward(case.model, name) for name in dict.fromkeys([*case.maskings, NEUTRAL])}
    step = -(-x[0, 0].numel() // STEPS)
    for method, name, values in _maps(small):
        areas = {}
        for judge, forward in judges.items():
            inserted = insertion_curve(forward, x, values, case.target, step=step).area
            deleted = deletion_curve(forward, x, values, case.target, step=step).area
            areas[judge] = inserted - deleted
        yield method, name, "all judges", sum(areas.values()) / len(areas)
        for judge, area in areas.items():
            yield method, name, f"by {judge}", area


def _maps(case: Case) -> Iterator[tuple[str, str, Tensor]]:
    for name, masking in case.maskings.items():
        yield "Occlusion", name, case.attribution("occlusion", name)
        forward = masked_forward(case.model, masking)
        gradients = ["straight-through", "masked"] if name.startswith("ad:") else ["straight-through"]
        for gradient in gradients:
            learned = FEI(forward).attribute(case.x, target=case.target, gradient=gradient, seed=case.seed, **LEARNING)
            yield ("FEI, masked gradients" if gradient == "masked" else "FEI"), name, learned


STUDY = Study(
    run,
    f"Photographs at {SIDE} pixels. Area of insertion less that of deletion, by the maskings of the maps and by "
    f"{NEUTRAL}, whoever made the map. Larger is better.",
    compared=("all judges",),
)
