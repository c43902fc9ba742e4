"""An ADForward and inputs for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_ad import ADForward
from tests.forwards.ad_forward.networks import C, Classifier, H, N, W


@pytest.fixture
def ad() -> ADForward:
    return ADForward(Classifier().eval())


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(N, C, H, W)
