"""What all tests of attributors on an ADForward explain."""

import pytest
from torch import Tensor

from captum_ad import ADForward
from tests.captum.registration.cases import network, sparse_inputs


@pytest.fixture
def ad() -> ADForward:
    return ADForward(network())


@pytest.fixture
def x() -> Tensor:
    return sparse_inputs()
