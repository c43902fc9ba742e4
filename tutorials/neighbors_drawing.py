"""What the figures of neighbors.md have in common: the network, photographs, how a map is drawn."""

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
    """One of scikit-image's photographs as the network's input."""
    transform = network()[1]
    x: Tensor = transform(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))[None]
    return x


def shown(x: Tensor) -> Tensor:
    """An input as it is displayed, shape (3, H, W), values in [0, 1]."""
    return (x[0] * (128 / 255) + 127 / 255).clamp(0, 1)


def as_drawn(x: Tensor) -> Tensor:
    """A scene as it is displayed, shape (3, H, W), values in [0, 1]."""
    return (x[0] * STD + MEAN).clamp(0, 1)


def heat(axis: Axes, x: Tensor, values: Tensor, title: str) -> None:
    """An attribution over the gray photograph: red speaks for, blue against."""
    total = values.detach().reshape(-1, *values.shape[-2:]).sum(0)
    scale = float(total.abs().flatten().kthvalue(int(0.99 * total.numel())).values) or 1.0
    axis.imshow(shown(x).mean(0), cmap="gray", vmin=0, vmax=1)
    axis.imshow(total, cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=0.6)
    axis.set_title(title, fontsize=9)
    axis.axis("off")
