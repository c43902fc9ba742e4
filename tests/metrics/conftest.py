"""What several files of tests get: ways to hide features, and the records of a small comparison."""

import pytest

from captum_ad import ADForward
from tests.metrics.study import run


@pytest.fixture(params=["AD", "baseline"])
def hide(request):
    """The two ways to hide features of a plain model; those of a linear one are zero under both."""

    def arguments(model):
        return (ADForward(model), {}) if request.param == "AD" else (model, {"baseline": "zero"})

    return arguments


@pytest.fixture(scope="module")
def finished():
    return run()


@pytest.fixture
def full(finished):
    return finished.copy()
