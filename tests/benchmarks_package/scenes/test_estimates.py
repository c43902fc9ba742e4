"""Bootstrap intervals and rank correlations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from captum_ad.benchmarks.scenes.estimates import Estimate, PerScene, estimate, mean_of, rank_correlations, relative


def test_relative_is_the_ratio_of_norms():
    differences, truth = np.random.default_rng(0).normal(size=(2, 7, 5, 3))
    found = estimate(relative(differences, truth))
    assert found.value == pytest.approx(np.linalg.norm(differences) / np.linalg.norm(truth))
    assert found.low < found.value < found.high


def test_the_interval_of_a_mean_is_about_the_normal_one():
    values = np.random.default_rng(1).normal(size=400)
    found = estimate(mean_of(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found == estimate(mean_of(values))
    assert found != estimate(mean_of(values), seed=1)


def test_pairs_stay_together():
    values = np.random.default_rng(2).normal(size=50)
    found = estimate(mean_of(values + 1), mean_of(values))
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_rank_correlations_are_spearmans():
    found, truth = np.random.default_rng(3).integers(0, 4, (2, 30, 5)).astype(float)
    truth[:, 0] = 9  # so that no row is constant
    found[:, 1] = 9
    truth[:, 1:] = truth[:, 1:] + np.arange(4) / 10
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(found, truth)]
    kept = ~np.isnan(expected)
    assert kept.sum() > 20
    assert rank_correlations(found, truth)[kept] == pytest.approx(np.array(expected)[kept])


def test_constant_rows():
    constant, rising = np.ones((1, 5)), np.arange(5.0)[None]
    assert rank_correlations(constant, rising) == 0
    assert np.isnan(rank_correlations(rising, constant))


def test_one_scene_gives_no_interval():
    one = mean_of(np.array([0.25]))
    found = estimate(one)
    assert (found.value, str(found)) == (0.25, ".25")
    assert np.isnan([found.low, found.high]).all()
    assert str(estimate(one, mean_of(np.array([0.5])))) == "−.25"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.25, 0.2, 0.304), ".25 (.20–.30)"),
        ((1.2, 1.14, 1.254), "1.20 (1.14–1.25)"),
        ((-0.025, -0.03, -0.02), "−.03 (−.03 to −.02)"),
        ((0.01, -0.02, 0.04), ".01 (−.02 to .04)"),
        ((np.nan, np.nan, np.nan), "–"),
    ],
)
def test_in_words(values, text):
    assert str(Estimate(*values)) == text


def test_nothing_to_measure_by():
    found = estimate(PerScene(np.zeros(3), np.zeros(3)))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_bad_input():
    with pytest.raises(ValueError, match="cannot pair 3 scenes with 4"):
        estimate(mean_of(np.ones(3)), mean_of(np.ones(4)))
    with pytest.raises(ValueError, match="n_resamples of at least 1"):
        estimate(mean_of(np.ones(3)), n_resamples=0)
