"""One random network in two spellings: the same masks and the same values after every step."""

from __future__ import annotations

import pytest
import torch

from captum_ad import PRESETS
from tests.engine.spelled_linear import Draw, Step
from tests.engine.spelled_networks import STEPS, assert_spellings_agree


@pytest.mark.parametrize("first", range(0, 200, 10))
def test_networks(first: int) -> None:
    for seed in range(first, first + 10):
        assert_spellings_agree(seed)


@pytest.mark.parametrize("seed", [1_030_754])
def test_networks_that_once_differed(seed: int) -> None:
    """Of 100,000 networks. Channels of stacked maps were picked by index; behind that, τ counted no positions."""
    assert_spellings_agree(seed)


@pytest.mark.parametrize("step", STEPS)
@torch.no_grad()
def test_ways_are_one_function(step: Step) -> None:
    """Without a mask too, and the shape is as announced."""
    for seed in range(6):
        draw = Draw(seed, PRESETS["paper"])
        ways, shape = step(draw, (4, 8, 8))
        x = draw.weights(2, 4, 8, 8)
        first, *others = (way(x) for way in ways)
        assert first.shape[1:] == shape
        assert others
        for other in others:
            torch.testing.assert_close(first, other)
