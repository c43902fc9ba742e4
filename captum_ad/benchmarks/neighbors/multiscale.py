"""What a pyramid of superpixels adds to one scale, under every masking. See :class:`captum_ad.attr.MultiScale`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from captum.attr import FeatureAblation

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.attr.multiscale import MultiScale, log_odds, pyramid
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.insertion import deletion_curve, insertion_curve

STEPS = 20
"""Steps of the curves."""


def run(case: Case) -> Iterator[Found]:
    """The areas of the pyramid's map, and how much larger they are than those of the middle scale's map."""
    levels = pyramid(case.x)
    with torch.no_grad():
        classes = case.model(case.x).shape[1]
    step = -(-case.x[0, 0].numel() // STEPS)
    for name, masking in case.maskings.items():
        forward = masked_forward(case.model, masking)
        attributor = FeatureAblation(forward.with_target(log_odds(case.target, classes)))
        with torch.no_grad():
            maps = [
                MultiScale(attributor).attribute(case.x, feature_masks=masks, perturbations_per_eval=4)
                for masks in (levels, levels[1:2])
            ]
        for quantity, curve in (("insertion", insertion_curve), ("deletion", deletion_curve)):
            fused, single = (curve(forward, case.x, values, case.target, step=step).area for values in maps)
            yield "FeatureAblation", name, quantity, fused
            yield "FeatureAblation", name, f"{quantity} − one scale's", fused - single


STUDY = Study(
    run,
    "Drops of the log-odds, three scales of about 25, 50 and 100 superpixels against the middle one. The curves "
    "mask as the map was made; insertion is better if larger, deletion if smaller.",
    compared=("insertion",),
)
