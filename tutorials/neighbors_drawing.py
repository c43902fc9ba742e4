"""Helpers for the figures of neighbors.md: the network, the photographs, and how maps are drawn."""

from __future__ import annotations

from functools import cache
from typing import Any

import skimage.data
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor, nn

from captum_ad.benchmarks.scenes.drawing import MEAN, STD
from captum_ad.demo import efficientnet_lite0


@cache
def network() -> tuple[nn.Module, Any]:
    """The demo network and its transform."""
    return efficientnet_lite0()


def photograph(name: str) -> Tensor:
    """One of scikit-image's photographs as an input of the network, shape (1, 3, 224, 224)."""
    transform = network()[1]
    x: Tensor = transform(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))[None]
    return x


def shown(x: Tensor) -> Tensor:
    """An input of the demo network as an image to display, shape (3, H, W), values in [0, 1]."""
    return (x[0] * (128 / 255) + 127 / 255).clamp(0, 1)


def as_drawn(x: Tensor) -> Tensor:
    """A drawn scene as an image to display, shape (3, H, W), values in [0, 1]."""
    return (x[0] * STD + MEAN).clamp(0, 1)


def heat(axis: Axes, x: Tensor, values: Tensor, title: str) -> None:
    """Draw an attribution over the gray photograph: red is evidence for the answer, blue against it."""
    total = values.detach().reshape(-1, *values.shape[-2:]).sum(0)
    scale = float(total.abs().flatten().kthvalue(int(0.99 * total.numel())).values) or 1.0
    axis.imshow(shown(x).mean(0), cmap="gray", vmin=0, vmax=1)
    axis.imshow(total, cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=0.6)
    axis.set_title(title, fontsize=9)
    axis.axis("off")
