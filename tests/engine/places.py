"""Inputs and masks for operations on places."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import MaskRule

Function = Callable[[Tensor], Tensor]
SHAPE = (3, 4, 6, 5)
X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
SOME = torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.6
FEWER = SOME & (torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.6)
HALF = (torch.arange(5) < 2).expand(6, 5)
GRID = (torch.rand(3, 4, 4, 2, generator=torch.Generator().manual_seed(3)) - 0.5) * 2.5
RULES = [
    MaskRule(),
    MaskRule("none", border="mean"),
    MaskRule("none", "intersection", "active"),
    MaskRule("window", "union", "active", "mean"),
]


def neighbor(x: Tensor) -> Tensor:
    """A map with another mask."""
    return F.avg_pool2d(x, 3, 1, 1)
