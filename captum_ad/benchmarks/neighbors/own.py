"""Drawn scenes, for studies that have their own network and inputs."""

from __future__ import annotations

import torch

from captum_ad.benchmarks.neighbors.measuring import Own
from captum_ad.benchmarks.scenes.drawing import draw, normalized
from captum_ad.benchmarks.scenes.truth import right_scenes
from captum_ad.benchmarks.scenes.weights import load_network

_KINDS = {"attention": "Vision transformer", "residual": "Residual network"}


def scenes(count: int, seed: int, network: str = "attention") -> Own:
    """Drawn scenes that a trained network gets right, by default a vision transformer.

    Parameters
    ----------
    count : int
        The number of scenes.
    seed : int
        Seed of the scenes.
    network : str
        One of :data:`captum_ad.benchmarks.scenes.networks.NETWORKS`.
    """
    trained = load_network(network)
    drawn = right_scenes(trained.model, count, classes_seed=trained.seed, seed=seed)
    with torch.no_grad():
        images = {f"scene {i}": normalized(draw(one)[None]) for i, one in enumerate(drawn)}
    return Own(
        f"{_KINDS.get(network, network)} of captum_ad.benchmarks.scenes, {count} drawn scenes that it gets right",
        trained.model,
        images,
        {f"scene {i}": one.label for i, one in enumerate(drawn)},
    )
