"""Channels turned to be purer: from those that were mixed, and back."""

from __future__ import annotations

import math

import pytest
import torch

from captum_ad.prototypes.purity import Turn, purer, purities


def test_purities_are_of_the_best_images_at_the_highest_position():
    maps = torch.zeros(3, 2, 1, 2)
    maps[0, :, 0, 1] = torch.tensor([6.0, 8.0])
    maps[1, :, 0, 0] = torch.tensor([5.0, 0.0])
    maps[2, :, 0, 0] = torch.tensor([1.0, 1.0])
    assert purities(maps, 2).tolist() == pytest.approx([(0.6 + 1) / 2, (0.8 + 1 / math.sqrt(2)) / 2])


def test_mixed_channels_are_told_apart_by_an_orthogonal_matrix():
    pure = torch.eye(3).repeat(2, 1)[..., None, None] * torch.linspace(1, 2, 6).reshape(6, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        skew = 0.3 * torch.randn(3, 3)
    mixed = Turn(torch.matrix_exp(skew - skew.T))(pure)
    turn = purer(mixed, mixed.norm(dim=1), count=2, steps=200, learning_rate=0.02)
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-5)
    assert float(purities(mixed, 2).mean()) < 0.98
    assert purities(Turn(turn)(mixed), 2).tolist() == pytest.approx([1, 1, 1], abs=1e-3)
