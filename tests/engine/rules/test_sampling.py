"""Grids that are made of features, and miss some of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    SAMPLES,
    WIDTH,
    Model,
    assert_monotone,
    both,
    every_preset,
    features,
    masks,
)

BASE = F.affine_grid(torch.eye(2, 3)[None].double(), (1, 1, HEIGHT, WIDTH), False)


def grid_of(x: Tensor) -> Tensor:
    return BASE + 0.1 * torch.stack([x[:, 0], x[:, 1]], 3)


def sampled_at(grid: Tensor, mode: str) -> Callable[[Tensor], Tensor]:
    return lambda x: F.grid_sample(x, grid, mode, align_corners=False)


def flow(mode: str) -> nn.Module:
    return Model(lambda x: F.grid_sample(x, grid_of(x), mode, align_corners=False))


@every_preset
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@torch.no_grad()
def test_points_with_a_missing_coordinate_are_dead(mode: str, rule: str, tau: float) -> None:
    """And those in whose own place nothing is kept; elsewhere the map is read as by a grid of constants."""
    for mask in masks().values():
        ((_, own),) = both(Model(lambda x: x), rule, tau, features(), mask)
        ((grid, missing),) = both(Model(grid_of), rule, tau, features(), mask)
        ((values, dead),) = both(Model(sampled_at(grid, mode)), rule, tau, features(), mask)
        ((found, also_dead),) = both(flow(mode), rule, tau, features(), mask)
        assert torch.equal(also_dead, own | missing.any(3)[:, None])
        torch.testing.assert_close(found.masked_fill(dead, 0), values.masked_fill(also_dead, 0))


@every_preset
@torch.no_grad()
def test_masks_of_flows_are_monotone(rule: str, tau: float) -> None:
    assert_monotone(flow("bilinear"), rule, tau)


@torch.no_grad()
def test_a_constant_map_at_points_of_features() -> None:
    picture = torch.randn(1, CHANNELS, 5, 5).double().expand(SAMPLES, -1, -1, -1)
    model = Model(lambda x: F.grid_sample(picture, grid_of(x), align_corners=False)).eval()
    mask = masks()["half"]
    out = ADForward(model, "no-growth")(torch.where(mask, features(), math.nan), mask=mask)
    assert torch.equal((out != 0).any(1, keepdim=True), mask)
