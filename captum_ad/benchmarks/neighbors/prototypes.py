"""Do patches of purer channels matter more, and under which masking? See :class:`captum_ad.prototypes.Prototypes`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.metrics.masking_names import UNMASKED
from captum_ad.prototypes import Prototype, Prototypes, patch_worth

TURNED, STEPS = 256, 100
"""The number of channels (those that respond most) that are disentangled, and the steps of that."""

CHANNELS, CONTROLS = 3, 3
"""The number of channels per photograph, and of random patches per channel's patch."""


def run(case: Case) -> Iterator[Found]:
    """How much the class loses when patches of its strongest channels are hidden, or random patches."""
    if not case.shared:
        case.shared.update(_both(case))
    generator = torch.Generator().manual_seed(case.seed)
    for method, prototypes in case.shared.items():
        patches = [prototypes.within(case.x, c) for c in prototypes.strongest(case.x, case.target, CHANNELS)]
        random = [_elsewhere(patch, generator) for patch in patches for _ in range(CONTROLS)]
        yield method, UNMASKED, "purity", sum(patch.purity for patch in patches) / len(patches)
        for name, masking in case.maskings.items():
            forward = masked_forward(case.model, masking)
            found = patch_worth(forward, case.x, patches + random, case.target)
            worth, control = (float(some.mean()) for some in found.split([len(patches), len(random)]))
            yield method, name, "worth", worth
            yield method, name, "worth − that of random patches", worth - control


def _both(case: Case) -> dict[str, Prototypes]:
    plain = Prototypes(case.model, case.images or {"": case.x}, last_map(case.model))
    strongest = plain.maps.flatten(2).amax(2).mean(0)
    turned = strongest.topk(min(TURNED, len(strongest))).indices.tolist()
    return {"channels": plain, "channels, turned": plain.disentangled(turned, steps=STEPS)}


def last_map(model: nn.Module) -> str:
    """The path of the last adaptive average pooling; "features" if there is none."""
    paths = [path for path, module in model.named_modules() if isinstance(module, _AdaptiveAvgPoolNd)]
    return paths[-1] if paths else "features"


def _elsewhere(patch: Prototype, generator: torch.Generator) -> Prototype:
    """A patch of the same size at a random place."""
    left, top, right, bottom = patch.box
    sides = patch.mask.shape
    y, x = (
        int(torch.randint(side - size + 1, (1,), generator=generator))
        for side, size in zip(sides, (bottom - top, right - left))
    )
    mask = torch.ones_like(patch.mask)
    mask[y : y + bottom - top, x : x + right - left] = False
    return Prototype("", 0.0, 0.0, (x, y, x + right - left, y + bottom - top), mask)


STUDY = Study(
    run,
    "Of the three channels that give the class most of its score: the purity of their patches, and what hiding each "
    "patch takes from the class's probability; random patches of the same size for comparison. Looked up, and turned, "
    "in these very photographs.",
    compared=("worth − that of random patches",),
)
