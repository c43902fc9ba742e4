"""What several files of tests get: ways to hide features, and the records of a small comparison."""

import numpy as np
import pytest

from captum_ad import ADForward
from tests.metrics.rows import NAN, rows_of, table
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


@pytest.fixture
def measured():
    """Three maskings at two gammas and an equal size, with differences of all kinds."""
    rng = np.random.default_rng(4)
    groups = []
    for gamma, size in ((0.3, 0.2), (0.9, 0.4), (NAN, 0.1)):
        groups += [
            rows_of(masking, (rng.integers(0, 11, 20) / 10).tolist(), gamma=gamma, size=size)
            for masking in ("ad:paper", "zero", "avg")
        ]
    return table(*groups)
