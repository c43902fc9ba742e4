"""Do maps of a question answer it better than maps of the class, and under which masking? See :func:`frame_curve`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad._methods import explain
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.frames import frame_curve, kind_of
from captum_ad.targets.groups import Contrast, Group

GROUPS = {
    "fish": range(0, 7),
    "birds": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "amphibians": range(25, 33),
    "reptiles": range(33, 69),
    "dogs": range(151, 269),
    "cats": range(281, 294),
    "insects": range(300, 327),
    "primates": range(365, 385),
}
"""Groups of ImageNet classes that are adjacent in its order."""


def run(case: Case) -> Iterator[Found]:
    """For every question, Occlusion's map of the question against its map of the class, under each masking."""
    with torch.no_grad():
        logits = case.model(case.x)[0]
    for question in _questions(logits, case.target):
        for name, masking in case.maskings.items():
            forward = masked_forward(case.model, masking)
            of_class = case.attribution("occlusion", name)
            of_itself = explain(case.model, "occlusion", masking, replace(case.task, target=question)).attribution
            own, other = (frame_curve(forward, case.x, values, question).area for values in (of_itself, of_class))
            yield kind_of(question), name, "its own map", own
            yield kind_of(question), name, "less the class's map", own - other


def _questions(logits: Tensor, target: int) -> Iterator[Contrast | Group]:
    """The class against the next one; if it is in one of the groups, also the group alone and against others."""
    order = [i for i in logits.argsort(descending=True).tolist() if i != target]
    yield Contrast(target, order[0])
    mine = next((name for name, group in GROUPS.items() if target in group), None)
    if mine is None or len(logits) != 1000:
        return
    group = Group(list(GROUPS[mine]))
    yield group
    yield Contrast(group, next(i for i in order if i not in GROUPS[mine]))
    rest = [Group(list(indices)) for name, indices in GROUPS.items() if name != mine]
    yield Contrast(group, max(rest, key=lambda one: float(one.score(logits[None]))))


STUDY = Study(
    run,
    "Mean drop over 10 to 90 % of the top of Occlusion's map masked, by the same masking that made the map; the group "
    "is that of the class among eight of ImageNet. Larger is better.",
    compared=("its own map",),
)
