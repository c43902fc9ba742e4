"""What several files of tests get: ways to hide features, and the records of a small comparison."""

import numpy as np
import pandas
import pytest

from captum_ad import ADForward
from captum_ad.metrics.statistics import COLUMNS
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


@pytest.fixture(scope="module")
def records():
    """Gammas and sizes out of order, two methods, two sets of backgrounds; `zero` has one image at gamma 0.9."""
    rng = np.random.default_rng(0)
    rows = []
    for method, backgrounds in (("occlusion", "K1"), ("occlusion", "K9"), ("lime", "K1")):
        for masking, size in (("zero", 0.2), ("ad:paper", 0.4), ("avg", 0.1), ("ad:other", 0.3)):
            for gamma, equal_size in ((0.9, NAN), (0.1, NAN), (0.5, NAN), (NAN, 0.2), (NAN, 0.1)):
                shown_size = equal_size if np.isnan(gamma) else size + gamma / 10
                for image in range(1 if (masking, gamma) == ("zero", 0.9) else 4):
                    measured = (shown_size, 0.5, rng.uniform(), 0.5, 1.0)
                    rows.append((f"image{image}", method, masking, 0, gamma, backgrounds, True, *measured))
    return pandas.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def agg():
    """Figures without a window."""
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    before = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)
