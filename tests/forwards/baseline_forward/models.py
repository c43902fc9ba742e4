"""A small network, a model that returns what it gets, and random numbers of their own generator."""

import torch
from hypothesis import strategies as st
from torch import nn

SEEDS = st.integers(0, 999)


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masks(seed, shape, per_channel):
    """Random masks of which about three fifths are kept."""
    return randn(seed, shape[0], shape[1] if per_channel else 1, *shape[2:]) > -0.3


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU(), nn.MaxPool2d(2), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(96, 4)).eval()


class Seen(nn.Module):
    """The model that returns what it gets."""

    def forward(self, x, *more, **kwargs):
        return x
