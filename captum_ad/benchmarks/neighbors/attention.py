"""Does attention agree with attributions of patches under AD and under paint? See :func:`attention_correlation`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from captum_ad._methods import explain
from captum_ad.benchmarks.neighbors.measuring import Case, Found, Study
from captum_ad.benchmarks.neighbors.own import scenes
from captum_ad.metrics.attention import attention_maps
from captum_ad.metrics.attention_agreement import attention_correlation, key_grid
from captum_ad.segmentation import superpixels

METHODS = {"FeatureAblation": "feature_ablation", "KernelSHAP": "kernel_shap"}


def run(case: Case) -> Iterator[Found]:
    """The class token's attention, or the mean over tokens, against two attributions of the patches."""
    attentions = attention_maps(case.model, case.x)
    keys = next(iter(attentions.values())).shape[-1]
    patches = math.prod(key_grid(keys, case.x.shape[2:]))
    labels = superpixels(case.x, "grid", patches).to(case.x.device)
    task = replace(case.task, superpixels=labels, samples=4 * patches)
    for method, called in METHODS.items():
        for name, masking in case.maskings.items():
            attribution = explain(case.model, called, masking, task).attribution[None]
            found = attention_correlation(attentions, attribution, query=0 if keys > patches else None)
            yield method, name, "all heads and layers", found.averaged
            yield method, name, "the last layer", float(found.by_layer[-1])
            yield method, name, "mean over layers", float(found.by_layer.nanmean())
            yield method, name, "mean over heads", float(found.heads.nanmean())


STUDY = Study(
    run,
    "Pearson's correlation of the class token's attention with attributions of the patches. Larger is more alike, not "
    "better.",
    compared=("all heads and layers",),
    own=scenes,
)
