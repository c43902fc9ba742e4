"""Grids that are made of features, and miss some of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import ADForward
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    SAMPLES,
    WIDTH,
    Model,
    both,
    every_preset_and_tau,
    features,
    masks,
)

BASE = F.affine_grid(torch.eye(2, 3)[None].double(), (1, 1, HEIGHT, WIDTH), False)


def grid_of(x: Tensor) -> Tensor:
    return BASE + 0.1 * torch.stack([x[:, 0], x[:, 1]], 3)


def sampled_at(grid: Tensor, mode: str) -> Callable[[Tensor], Tensor]:
    return lambda x: F.grid_sample(x, grid, mode, align_corners=False)


@every_preset_and_tau
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@torch.no_grad()
def test_points_with_a_missing_coordinate_are_dead(mode: str, rule: str, tau: float) -> None:
    """Elsewhere the map is read as by a grid of constants."""
    for mask in masks().values():
        ((grid, missing),) = both(Model(grid_of), rule, tau, features(), mask)
        ((values, dead),) = both(Model(sampled_at(grid, mode)), rule, tau, features(), mask)
        follows = Model(lambda x: F.grid_sample(x, grid_of(x), mode, align_corners=False))
        ((found, also_dead),) = both(follows, rule, tau, features(), mask)
        expected = dead | missing.any(3)[:, None]
        assert torch.equal(also_dead, expected)
        torch.testing.assert_close(found, values.masked_fill(expected, 0))


@torch.no_grad()
def test_a_constant_map_at_points_of_features() -> None:
    picture = torch.randn(1, CHANNELS, 5, 5).double().expand(SAMPLES, -1, -1, -1)
    model = Model(lambda x: F.grid_sample(picture, grid_of(x), align_corners=False)).eval()
    mask = masks()["half"]
    out = ADForward(model, "no-growth")(torch.where(mask, features(), math.nan), mask=mask)
    assert torch.equal((out != 0).any(1, keepdim=True), mask)
