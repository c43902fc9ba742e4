"""Runs a function inside of a network, under a mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward

X = torch.linspace(-1, 1, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)
HALF = torch.arange(6).expand(6, 6) < 3


class Inner(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Outer(nn.Module):
    """conv, then the function, in a module of its own; the result is used, not returned."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.suspect = Inner(function)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.suspect(self.conv(x))) + 0


def run(function: Callable[[Tensor], Tensor], mask: Tensor = HALF) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return ADForward(Outer(function).eval())(X, mask=mask)
