"""Random networks of which every step can be written in several ways."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from captum_ad import PRESETS
from tests.engine.rules.spelled import both
from tests.engine.spelled_linear import (
    Draw,
    Shape,
    Step,
    Way,
    attention,
    convolution,
    gated,
    head,
    normalized,
    pointwise,
    pooled,
    strided,
)  # fmt: skip
from tests.engine.spelled_moves import (
    activation,
    centered,
    joined,
    moved,
    residual,
    resized,
    scaled,
    shuffled,
    windowed,
    zeroed,
)  # fmt: skip

SAMPLES = 2

STEPS: list[Step] = [
    pointwise, convolution, strided, activation, scaled, residual, moved, centered, gated, joined, zeroed, attention,
    normalized, pooled, resized, shuffled, windowed,
]  # fmt: skip


class Spelled(nn.Module):
    """A network as a chain of steps; it gives the result of each."""

    def __init__(self, ways: list[Way]) -> None:
        super().__init__()
        self.ways = ways

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x]
        for way in self.ways:
            found.append(way(found[-1]))
        return found[1:]


def masks_of(draw: Draw, height: int, width: int) -> Tensor:
    """A mask for each sample, or for each channel of all."""
    kinds = [
        draw.places(height, width), torch.arange(width).expand(height, width) < width // 2,
        torch.zeros(height, width, dtype=torch.bool), torch.zeros(height, width, dtype=torch.bool),
    ]  # fmt: skip
    kinds[3][height // 2, width // 3] = True
    if draw.choose.random() < 0.2:
        return draw.places(1, 3, height, width)
    return torch.stack(draw.choose.choices(kinds, [3, 2, 1, 1], k=SAMPLES))[:, None]


@torch.no_grad()
def assert_spellings_agree(seed: int) -> None:
    """A random network in two spellings: the same masks and values after every step."""
    choose = random.Random(seed)
    rule, tau = choose.choice(list(PRESETS)), choose.choice([0.0, 0.3, 0.6])
    draw = Draw(seed, PRESETS[rule])
    shape: Shape = (3, 8, 8)
    x, mask = draw.weights(SAMPLES, 3, 8, 8), masks_of(draw, 8, 8)
    names: list[str] = []
    ways: list[list[Way]] = []
    for _ in range(draw.choose.randint(3, 6)):
        step = draw.choose.choice(STEPS)
        if min(shape[1:]) < 4 and step in (strided, pooled):
            step = activation
        if not names and mask.shape[1] > 1:
            step = pointwise  # channels that are off by themselves are terms that are off in a sum over channels
        found, shape = step(draw, shape)
        names.append(step.__name__)
        ways.append(found)
    ways.append(head(draw, shape)[0])
    names.append("head")
    picks = [draw.choose.sample(range(len(found)), 2) for found in ways]
    one, other = (
        both(Spelled([found[pick[i]] for found, pick in zip(ways, picks)]), rule, tau, x, mask) for i in range(2)
    )
    written = ", ".join(f"{name} {a}|{b}" for name, (a, b) in zip(names, picks))
    for step_number, ((values, dead), (theirs, also_dead)) in enumerate(zip(one, other)):
        where = f"seed {seed}, {rule}, tau {tau}, step {step_number} of: {written}"
        assert torch.equal(dead, also_dead), f"masks differ: {where}"
        torch.testing.assert_close(values, theirs, rtol=1e-6, atol=1e-7, msg=lambda m, w=where: f"values: {w}: {m}")
