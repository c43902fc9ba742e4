"""Two spellings of one function: the same masks and the same values under every preset and τ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, MaskRule, PositionMask
from captum_ad._engine import Interpreter
from tests.engine.following import follow
from tests.networks import seed

Function = Callable[[Tensor], Any]
Pairs = dict[str, tuple[Function, Function]]

SETTINGS = [*zip(PRESETS, [0.0, 0.3, 0.0, 0.6, 0.3]), ("paper", 0.6)]
"""Every preset, with thresholds that one kept feature of two does not exceed, or does."""
SAMPLES, CHANNELS, HEIGHT, WIDTH = 2, 4, 6, 8


class Model(nn.Module):
    """A function of a map that a convolution has made."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        seed(0)
        self.conv, self.function = nn.Conv2d(3, CHANNELS, 1), function
        self.double().eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


def features() -> Tensor:
    return torch.randn(
        SAMPLES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.double
    )  # fmt: skip


def masks() -> dict[str, Tensor]:
    """Of a batch: a half beside scattered positions, next to nothing beside nothing, and one for each channel."""
    generator = torch.Generator().manual_seed(2)
    half = torch.arange(WIDTH).expand(HEIGHT, WIDTH) < WIDTH // 2
    scattered = torch.rand(HEIGHT, WIDTH, generator=generator) < 0.4
    pixel = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    pixel[2, 3] = True
    channels = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator) < 0.2
    return {
        "half": torch.stack([half, scattered])[:, None],
        "little": torch.stack([pixel, ~torch.ones_like(half)])[:, None],
        "channels": channels,
    }


def both(model: nn.Module, rule: str, tau: float, x: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each tensor that a model gives: its values, and where it is dead."""
    ad, out = follow(partial(Interpreter, model, MaskRule.named(rule), tau), x, PositionMask(mask), model)
    found = [out] if isinstance(out, Tensor) else list(out)
    ad.complete(*found)
    result = []
    for part in found:
        own = ad.mask(part)
        dead = torch.zeros(part.shape, dtype=torch.bool) if own is None else own.dead.expand(part.shape)
        result.append((torch.where(dead, 0, part), dead))
    return result


@torch.no_grad()
def assert_agree(pair: tuple[Function, Function], rule: str, tau: float) -> None:
    """Equal masks and values, whichever way it is written; and the second way is one that has a rule of its own."""
    for name, mask in masks().items():
        one, other = (both(Model(function), rule, tau, features(), mask) for function in pair)
        assert len(one) == len(other)
        for (values, dead), (theirs, also_dead) in zip(one, other):
            assert torch.equal(dead, also_dead), f"masks differ, {name}"
            torch.testing.assert_close(values.to(theirs.dtype), theirs, equal_nan=True)


def assert_monotone(model: nn.Module, rule: str, tau: float) -> None:
    """Of a larger mask no larger part of the result is dead."""
    generator = torch.Generator().manual_seed(5)
    few, others = (torch.rand(2, SAMPLES, 1, HEIGHT, WIDTH, generator=generator) < 0.4).unbind()
    (_, dead), (_, still_dead) = (both(model, rule, tau, features(), mask)[0] for mask in (few, few | others))
    assert not bool((still_dead & ~dead).any())


def every_preset(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize(("rule", "tau"), SETTINGS)(test)


def some_presets(test: Callable[..., None]) -> Callable[..., None]:
    """Each value of each knob, where that will do."""
    return pytest.mark.parametrize(("rule", "tau"), SETTINGS[2:5])(test)


def run(function: Function, mask: Tensor, rule: str = "paper", tau: float = 0.0) -> Tensor:
    """A forward as users write it."""
    return ADForward(Model(function), rule, tau=tau)(features(), mask=mask)
