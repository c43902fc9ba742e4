"""A photograph in twelve cells, a network, and how lime explains them in these tests."""

import numpy as np
import torch
from torch import nn
from torchvision import transforms

POINTWISE = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
CELLS = np.arange(24)[:, None] // 8 * 4 + np.arange(32)[None] // 8  # 3 rows of 4


def small_model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5)]
    return nn.Sequential(*layers).eval()


def small_photograph():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def explain(kind, image, classifier, seed=3, **options):
    options = {"segmentation_fn": lambda image: CELLS, "num_samples": 37, "top_labels": 2, **options}
    return kind(random_state=seed).explain_instance(image, classifier, **options)
