"""Whether one masking beats another: hardly ever if they are equal, nearly always if it is plain to see."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from captum_ad.metrics.recommendation_statistics import beaten, bootstrapped, holm, signed_rank
from captum_ad.metrics.recommendation_table import Recommendation, there

SHARES = (0.75, 0.5, 0.25)


def recommendation(kept):
    """Of whether the class is kept, (maskings, photographs, shares)."""
    names = [f"ad:{i}" if i % 2 else f"paint {i}" for i in range(len(kept))]
    common = {"target": 0, "confidence": 0.5, "run": "r", "input": "i"}
    rows = [{"image": str(i), "masking": "none", "test": "whole", "kept": True, **common} for i in range(len(kept[0]))]
    rows += [
        {"image": str(i), "masking": name, "test": there(share), "kept": bool(kept[m][i][k]), **common}
        for m, name in enumerate(names)
        for i in range(len(kept[m]))
        for k, share in enumerate(SHARES)
    ]
    return Recommendation(pd.DataFrame(rows), {name: name for name in names}, SHARES, True, 0)


def equal_maskings(generator, maskings, photographs):
    """Photographs are easy or hard, and whether the class is kept is drawn for each masking alike."""
    odds = np.clip(generator.random((1, photographs, 1)) + np.array([0.4, 0.0, -0.4]), 0, 1)
    return generator.random((maskings, photographs, 3)) < odds


@pytest.mark.slow
@pytest.mark.parametrize(("maskings", "photographs", "runs"), [(2, 6, 100), (2, 8, 150), (2, 30, 100), (5, 12, 60)])
def test_of_equal_maskings_one_is_recommended_one_time_in_twenty_at_most(maskings, photographs, runs):
    generator = np.random.default_rng(photographs)
    found = [recommendation(equal_maskings(generator, maskings, photographs)).clear for _ in range(runs)]
    assert np.mean(found) <= 0.05


def test_a_difference_that_is_plain_to_see_is_seen():
    kept = np.zeros((3, 12, 3), dtype=bool)
    kept[1, :, :2] = kept[2, :6, 0] = True
    assert recommendation(kept).clear


def test_three_of_six_photographs_name_no_winner():
    """The three agree, and their bootstrap interval is above zero; three coins do so one time in four."""
    kept = np.zeros((2, 6, 3), dtype=bool)
    kept[:, :, 0] = True
    kept[1, :3, 1] = True
    found = recommendation(kept)
    assert found.table().query("masking == 'ad:1' and test == 'score'")["difference_low"].item() > 0
    assert (found.best, found.clear) == ("ad:1", False)
    assert found.sentence.startswith("No clear winner: ad:1 and paint 0 are within noise")
    assert found.sentence.endswith("Try more photographs, or take ADForward(model, '1').")


def test_it_takes_more_to_beat_many():
    """Six photographs of six: one time in 32 by chance, which is not enough for three comparisons."""
    scores = pd.DataFrame({"best": [1.0] * 6, "a": [0.0] * 6, "b": [0.0] * 6, "c": [0.0] * 6})
    pairs = [("best", other) for other in "abc"]
    keys = [{"pair": pair} for pair in pairs]
    assert beaten(scores, pairs[:1], 0, keys[:1]) == [True]
    assert beaten(scores, pairs, 0, keys) == [False] * 3
    assert beaten(pd.concat([scores, scores.iloc[:3]]), pairs, 0, keys) == [True] * 3
    assert beaten(scores.iloc[:5], pairs[:1], 0, keys[:1]) == [False]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 12, 30])
def test_without_ties_it_is_scipys_exact_test(n):
    values = np.random.default_rng(n).normal(0.2, size=n)
    exact = stats.wilcoxon(values, method="exact").pvalue
    assert signed_rank(pd.Series(values)) == pytest.approx(exact)
    assert signed_rank(pd.Series([*values, 0, 0, 0])) == pytest.approx(exact) == signed_rank(-pd.Series(values))


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_it_counts_all_signs(seed):
    values = np.random.default_rng(seed).integers(-1, 4, 9) / 4
    every = stats.PermutationMethod(n_resamples=2**9)
    known = values[values != 0]
    assert signed_rank(pd.Series(values)) == pytest.approx(stats.wilcoxon(known, method=every).pvalue)


@pytest.mark.parametrize("n", [1, 2, 11])
def test_holms_correction_is_statsmodels(n):
    p = np.random.default_rng(n).random(n) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_nothing_differs():
    assert signed_rank(pd.Series([0.0] * 9)) == 1
    assert bootstrapped(pd.Series([0.5] * 3), 0, {}) == {"n": 3, "mean": 0.5, "low": 0.5, "high": 0.5}
