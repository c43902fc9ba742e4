"""A network whose every change is known, and a masking that paints the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_ad.benchmarks.scenes import PARTS, Scene, draw, normalized, visible


class Reader(nn.Module):
    """Logits that are weighted sums of some pixels of the input."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights, requires_grad=False)  # (classes, 3, 64, 64)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T


def reader_of(scene: Scene, part: int, seed: int = 0) -> Reader:
    """One that reads what a part shows on, and nothing else."""
    weights = torch.randn(12, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return Reader(weights * visible(scene, part))


class Painter:
    """A baseline that knows the scenes: it paints what is behind the part that is hidden."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.truth: dict[tuple[bytes, bytes], Tensor] = {}
        for scene in scenes:
            for part in range(len(PARTS)):
                there = [i != part for i in range(len(PARTS))]
                lacking = normalized(draw(scene, there))
                kept = (~visible(scene, part)).numpy().tobytes()
                for given in (normalized(draw(scene)), lacking):
                    self.truth[given.numpy().tobytes(), kept] = lacking

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        keys = [(one.numpy().tobytes(), kept.numpy().tobytes()) for one, kept in zip(x, mask[:, 0])]
        return torch.stack([self.truth[key] for key in keys])
