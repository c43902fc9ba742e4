"""Two networks and a picture; no rex-xai is needed for them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.adapters.rex.models import PATCH, SIDE


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


@pytest.fixture(scope="module")
def patch_network():
    """Class 1 if more than half of the bright patch is seen: logits (2, 4 × its share)."""
    weights = torch.zeros(2, 3, SIDE, SIDE)
    weights[1, :, PATCH[0], PATCH[1]] = 4 / 2 / 48  # the patch is 255, which is 2 once it is normalized
    linear = nn.Linear(3 * SIDE * SIDE, 2)
    with torch.no_grad():
        linear.weight.copy_(weights.flatten(1))
        linear.bias.copy_(torch.tensor([1.9, 0.0]))
    return nn.Sequential(nn.Flatten(), linear).eval()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A gray image with a bright patch, as a file."""
    pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
    pixels[PATCH] = 255
    path = tmp_path_factory.mktemp("rex") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path
