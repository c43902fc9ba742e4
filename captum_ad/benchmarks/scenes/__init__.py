"""Removal truth: drawn scenes whose parts can really be left out, compared with maskings that hide them.

>>> trained = load_network("residual")
>>> scenes = right_scenes(trained.model, 4, classes_seed=trained.seed)
>>> found = removal_truth(trained.model, scenes, ["ad:no-growth-mean", "avg"])
>>> found.true.shape, found.estimate("error", "avg").value < 1
(torch.Size([4, 5, 12]), True)

The command is ``python -m captum_ad.benchmarks.scenes``.
"""

from captum_ad.benchmarks.scenes.drawing import Scene, draw, normalized, scene, visible
from captum_ad.benchmarks.scenes.estimates import Estimate
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.masks import MASK_SHAPES, hidden_pixels
from captum_ad.benchmarks.scenes.networks import NETWORKS
from captum_ad.benchmarks.scenes.shapley import PresenceForward, ShapleyTruth, exact_shapley, shapley_truth
from captum_ad.benchmarks.scenes.training import train
from captum_ad.benchmarks.scenes.truth import RemovalTruth, removal_truth, right_scenes
from captum_ad.benchmarks.scenes.weights import Trained, load_network, save_network

__all__ = [
    "MASK_SHAPES",
    "NETWORKS",
    "PARTS",
    "Estimate",
    "PresenceForward",
    "RemovalTruth",
    "Scene",
    "ShapleyTruth",
    "Trained",
    "draw",
    "exact_shapley",
    "hidden_pixels",
    "load_network",
    "normalized",
    "removal_truth",
    "right_scenes",
    "save_network",
    "scene",
    "shapley_truth",
    "train",
    "visible",
]
