"""Masks as users write them, and NaN, which means missing, and now and then an accident."""

import math

import pytest
import torch
from torch import nn

from captum_ad import ADForward


@pytest.fixture
def ad() -> ADForward:
    torch.manual_seed(0)
    return ADForward(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2)).eval())


def test_nan_that_looks_like_an_accident_is_mentioned(ad: ADForward) -> None:
    x, kept = torch.rand(2, 1, 6, 6), torch.ones(6, 6, dtype=torch.bool)
    x[1] = math.nan
    with pytest.warns(UserWarning, match="in a whole sample"):
        assert bool(ad(x).isfinite().all())
    x = torch.rand(2, 1, 6, 6)
    x[0, 0, 2, 2] = math.nan
    kept[0] = False
    with pytest.warns(UserWarning, match="where its mask keeps"):
        ad(x, mask=kept)


@pytest.mark.filterwarnings("error")
def test_nan_that_says_what_is_missing_is_not(ad: ADForward) -> None:
    x, kept = torch.rand(2, 1, 6, 6), torch.ones(6, 6, dtype=torch.bool)
    x[0, 0, 2, 2], kept[2] = math.nan, False
    assert torch.equal(ad(x, mask=kept), ad(x.nan_to_num(), mask=kept))  # behind the mask
    assert not torch.equal(ad(x)[0], ad(x.nan_to_num())[0])  # without a mask
