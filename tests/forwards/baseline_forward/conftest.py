"""The input of these tests."""

import pytest

from tests.forwards.baseline_forward.models import randn


@pytest.fixture
def x():
    x = randn(1, 2, 3, 8, 8)
    x[:, :, 2:5, 1:6] = 0  # zeros are values like any other
    return x
