"""Does AD preserve activations better than paint, at equal size? See :func:`activation_deviation`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn.modules.conv import _ConvNd

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study, evenly
from captum_ad.metrics.missingness import present_masks
from captum_ad.metrics.pathways import activation_deviation
from captum_ad.metrics.ranking import ranked

SIZE = 0.3
"""Size of the parts that are compared, as a share of the image."""


def run(case: Case) -> Iterator[Found]:
    """Measure the image's center for every masking, and each masking's own explanation of the same size."""
    layers = evenly(case.model, (_ConvNd,), 8)
    center = present_masks(case.x, [SIZE], "center")[0]
    for method in ("the center", "Occlusion"):
        for name, masking in case.maskings.items():
            mask = center
            if method == "Occlusion":
                ranking = ranked(case.attribution("occlusion", name), case.x)
                mask = ranking.prefixes(torch.tensor([round(SIZE * len(ranking))]))[0]
            forward = masked_forward(case.model, masking)
            on, everywhere = (activation_deviation(forward, case.x, mask, layers, over=over) for over in _OVER)
            half = len(layers) // 2
            yield method, name, "on it", on.mean
            yield method, name, "on it, first half", float(on.relative[:half].nanmean())
            yield method, name, "on it, second half", float(on.relative[half:].nanmean())
            yield method, name, "everywhere", everywhere.mean
            yield method, name, "cosine on it", float(on.cosine.nanmean())


_OVER = ("explanation", "everywhere")

STUDY = Study(
    run,
    "Relative L2 of the activations of eight convolutions, evenly spaced over depth, with 30 % of the photograph "
    "there: its center, or each masking's own Occlusion explanation. Smaller is better, but for the cosine.",
    compared=("on it", "everywhere"),
    lower_is_better=True,
)
