"""A network, masks of its inputs, and a backend that counts, for compiled forwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from captum_ad import ADForward
from captum_ad._forwards.compiled import CAN_RUN_EAGERLY

SIDE = 12
RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, SIDE, SIDE, generator=RANDOM)
MASK = torch.rand(2, SIDE, SIDE, generator=RANDOM) < 0.6
MASK[0, :, :5] = False
OTHER = MASK.flip(-1)
FULL = torch.ones(SIDE, SIDE, dtype=torch.bool)


class Network(nn.Module):
    """Strides, a sum, averages over space, tokens that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(), nn.MaxPool2d(3, 1, 1))
        self.tokens = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.layer(x)
        return self.head(self.tokens(x.flatten(2).transpose(1, 2)).mean(1) + x.mean((2, 3)))


class Counting:
    """A backend that runs what it is given, and counts how often that is."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return graph.forward


COUNTS = CAN_RUN_EAGERLY
"""Before torch 2.6, dynamo may in a long process compile a program again, or not at all: there programs are counted."""


def assert_graphs(backend: Counting, count: int) -> None:
    assert not COUNTS or backend.graphs == count


def pair(
    model: nn.Module | None = None, rule: str = "no-growth-mean", **given: Any
) -> tuple[ADForward, ADForward, Counting]:
    """A compiled forward, one that is not, and the backend."""
    model = model or Network().eval()
    compiled, eager, backend = ADForward(model, rule, **given), ADForward(model, rule, **given), Counting()
    compiled.compile(backend=backend)
    return compiled, eager, backend
