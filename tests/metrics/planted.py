"""Backgrounds and problems for what is planted."""

import torch
from hypothesis import strategies as st

from captum_ad.metrics import (
    DrawnBackgrounds,
    SolidColors,
)
from tests.metrics.models import (
    noise,
    small_net,
)


def fixed(*images):
    """Backgrounds that are written down."""
    stacked = torch.stack(images)
    return DrawnBackgrounds(lambda start, stop: stacked[start:stop], len(images))


def wide(n=7, seed=0):
    """Colors for inputs that are normally distributed."""
    return SolidColors(n, seed, mean=0.5, std=0.1)


@st.composite
def problems(draw):
    """A small random network, an input, a mask, and noise for backgrounds."""
    shape = draw(st.sampled_from([(2, 6, 5), (1, 4, 4), (2, 8), (1, 4, 2, 3)]))
    model, x = small_net(draw(st.integers(0, 50)), shape), noise(draw(st.integers(0, 50)), (1, *shape))
    mask = noise(draw(st.integers(0, 50)), shape[1:]) > draw(st.sampled_from([-1.0, 0.0, 1.0]))
    backgrounds = [noise(100 + draw(st.integers(0, 50)), shape) for _ in range(draw(st.integers(1, 6)))]
    return model, x, mask, backgrounds
