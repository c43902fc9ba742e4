"""IDGI against Integrated Gradients, by insertion and deletion under every masking."""

from __future__ import annotations

from collections.abc import Iterator

from captum.attr import IntegratedGradients

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.attr import IDGI
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.insertion import deletion_curve, insertion_curve

STEPS = 25
"""Steps of the paths and of the curves."""


def run(case: Case) -> Iterator[Found]:
    """The areas for each method, and how far IDGI's is from Integrated Gradients'."""
    x, target = case.x, case.target
    direction = IDGI(case.model)
    maps = {
        "IG": IntegratedGradients(case.model).attribute(
            x, target=target, n_steps=STEPS, method="riemann_left", internal_batch_size=4
        ),
        **{f"IDGI, {path}": direction.attribute(x, target=target, n_steps=STEPS, path=path) for path in _PATHS},
    }
    step = -(-x[0, 0].numel() // STEPS)
    areas: dict[tuple[str, str, str], float] = {}
    for name, masking in case.maskings.items():
        forward = masked_forward(case.model, masking)
        for method, values in maps.items():
            for quantity, curve in (("insertion", insertion_curve), ("deletion", deletion_curve)):
                area = areas[method, name, quantity] = curve(forward, x, values, target, step=step).area
                yield method, name, quantity, area
                if method != "IG":
                    yield method, name, f"{quantity} − IG's", area - areas["IG", name, quantity]


_PATHS = ("straight", "blur", "guided")

STUDY = Study(
    run,
    f"{STEPS} steps, from 0, gray, where the path wants a baseline. The masking is that of the curves; insertion is "
    "better if larger, deletion if smaller.",
)
