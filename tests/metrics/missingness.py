"""Photographs, classifiers of them, and how much of them is present in which pattern."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARES = (0.0, 0.3, 0.5, 0.8, 1.0)
PATTERNS = ("patches", "center", "superpixels")


def network() -> nn.Sequential:
    """Of the usual parts, with batch statistics of its own; photographs are of all its four classes."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        norm, head = nn.BatchNorm2d(6), nn.Linear(6, 4)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        body = (nn.Conv2d(3, 6, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU())
        model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        outputs = model(photographs(32))
        head.weight *= 2 / outputs.std(0)[:, None]
        head.bias -= model(photographs(32)).mean(0)
    return model


def eye(row: int, column: int, height: int, width: int, channels: int = 1) -> nn.Sequential:
    """Says 1 if one pixel's first channel is above a half, else 0."""
    head = nn.Linear(channels * height * width, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2.0, 0.0]))
        head.weight[1, row * width + column] = 4.0
    return nn.Sequential(nn.Flatten(), head).eval()


def photographs(n: int = 4, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    """Blocks of color with some noise, for superpixels to find."""
    generator = torch.Generator().manual_seed(n + height)
    blocks = torch.rand(n, channels, 3, 4, generator=generator)
    noise = 0.05 * torch.rand(n, channels, height, width, generator=generator)
    return nn.functional.interpolate(blocks, (height, width)) * 0.9 + noise + 0.01
