"""Networks that an ADForward is tried on, and half of an input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

N, C, H, W = 3, 2, 6, 5


class Classifier(nn.Module):
    def __init__(self, kind: type[nn.Module] = nn.Conv2d, pool: type[nn.Module] = nn.AdaptiveAvgPool2d) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(kind(C, 4, 3, padding=1), nn.SiLU(), kind(4, 4, 3), pool(1))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class TwoInputs(nn.Module):
    """Two images and a vector; `scale` is a keyword."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Conv2d(C, 4, 3, padding=1)
        self.right = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor, bias: Tensor | None = None, *, scale: Any = 1.0) -> Tensor:
        pooled = (self.left(a) + self.right(b)).relu().mean((2, 3))
        out = self.head(pooled) * scale
        return out if bias is None else out + bias


class Named(nn.Module):
    def forward(self, x: Tensor, y: Tensor, *, factor: float) -> Tensor:
        raise TypeError("of its own")


def half() -> Tensor:
    return torch.arange(W).expand(H, W) < 2
