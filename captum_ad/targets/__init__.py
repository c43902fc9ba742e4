"""Targets: what is explained. They compute one score per sample and decide whether the model's answer is the same.

ad = ADForward(model, target=Region(12))
attr = FeatureAblation(ad).attribute(x, feature_mask=superpixels(x))  # no target= here: ad(x) is one score per sample
found = sufficient_explanation(ad, x, attr)
rho_robustness(model, x, found, Region(12), colors)

Wherever this package takes a class index as ``target``, it also takes a target, or None if the forward has one. For
Captum's attributors, put the target into the forward. A class index is short for :class:`Class`.
"""

from captum_ad.targets.base import Given, Target
from captum_ad.targets.classes import Binary, Class, MultiLabel
from captum_ad.targets.detection import Detection
from captum_ad.targets.groups import Contrast, Group
from captum_ad.targets.region import Region
from captum_ad.targets.values import Reconstruction, Regression, Similarity

__all__ = [
    "Binary",
    "Class",
    "Contrast",
    "Detection",
    "Given",
    "Group",
    "MultiLabel",
    "Reconstruction",
    "Region",
    "Regression",
    "Similarity",
    "Target",
]
