"""What all tests of lime explain."""

import pytest

pytest.importorskip("torchvision")

from tests.adapters.lime.explaining import small_model, small_photograph


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def photograph():
    return small_photograph()
