"""Paired tests against numbers worked by hand and against scipy called directly."""

import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from captum_ad.metrics.statistics import significance
from tests.metrics.rows import FEW, NAN, only, rows_of, table


class TestSignificance:
    def test_columns(self, measured):
        found = significance(measured, n_resamples=FEW)
        assert list(found.columns) == [
            *("method", "backgrounds", "gamma", "size", "ad", "baseline", "is_best"),
            *("n", "difference", "ci_low", "ci_high", "p", "p_holm"),
        ]
        assert found["gamma"].tolist() == pytest.approx([0.3, 0.3, 0.9, 0.9, NAN, NAN], nan_ok=True)
        assert found["size"].tolist() == pytest.approx([NAN] * 4 + [0.1, 0.1], nan_ok=True)
        assert found["baseline"].tolist() == ["zero", "avg"] * 3
        assert set(found["ad"]) == {"ad:paper"}

    def test_pairs_are_of_the_same_image_whatever_the_order_of_rows(self):
        ad = rows_of("ad:paper", [0.9, 0.5, 0.8, 0.1, None, 0.3])
        zero = rows_of("zero", [0.4, 0.5, None, 0.2, 0.6, 0.2])
        found = only(significance(table(ad, reversed(zero))), baseline="zero")
        differences = [0.5, 0.0, -0.1, 0.1]
        assert (found["n"], found["difference"]) == (4, pytest.approx(0.125))
        # Pratt: ranks of 0, 0.1, 0.1, 0.5 are 1, 2.5, 2.5, 4. Among the 8 ways to sign the last three, the
        # smaller sum is at most 2.5, as here, in 6: without it (0), and with one of the two tied ranks.
        assert found["p"] == pytest.approx(6 / 8)
        assert found["p"] == stats.wilcoxon(differences, zero_method="pratt").pvalue
        assert min(differences) <= found["ci_low"] < 0.125 < found["ci_high"] <= max(differences)

    def test_p_is_that_of_scipy_for_larger_samples(self, measured):
        found = only(significance(measured, n_resamples=FEW), gamma=0.9, baseline="avg")
        at = measured[measured["gamma"] == 0.9].pivot(index="image", columns="masking", values="rho")
        differences = np.round(at["ad:paper"] - at["avg"], 12)
        assert (differences == 0).any()
        assert found["p"] == pytest.approx(stats.wilcoxon(differences, zero_method="pratt").pvalue)
        assert found["p"] != pytest.approx(stats.wilcoxon(differences, zero_method="wilcox").pvalue)

    def test_rounding_breaks_no_ties(self):
        ad, zero = [0.3, 0.8, 0.9, 0.1], [0.2, 0.7, 0.8, 0.2]
        assert len({a - b for a, b in zip(ad[:3], zero[:3])}) > 1
        found = only(significance(table(rows_of("ad:paper", ad), rows_of("zero", zero))), baseline="zero")
        # Four ranks of 2.5, one of them negative: 1 + 4 of 16 signs are as far out, on either side.
        assert found["p"] == pytest.approx(10 / 16)

    def test_interval_is_that_of_the_mean(self):
        rng = np.random.default_rng(0)
        differences = rng.normal(0.1, 0.1, 200)
        records = table(rows_of("ad:paper", (0.5 + differences).tolist()), rows_of("zero", [0.5] * 200))
        found = significance(records).iloc[0]
        half = 1.96 * differences.std(ddof=1) / math.sqrt(200)
        assert found["ci_low"] == pytest.approx(differences.mean() - half, abs=0.1 * half)
        assert found["ci_high"] == pytest.approx(differences.mean() + half, abs=0.1 * half)
        wider = significance(records, confidence_level=0.99).iloc[0]
        assert wider["ci_low"] < found["ci_low"] < found["ci_high"] < wider["ci_high"]

    def test_interval_is_of_percentiles(self):
        found = significance(table(rows_of("ad:paper", [0.5] * 4 + [1.0]), rows_of("zero", [0.5] * 5))).iloc[0]
        # The fifth image is drawn 0 times in 33 %, at most twice in 94.2 % and at most thrice in 99.3 %.
        assert (found["ci_low"], found["ci_high"]) == (0, pytest.approx(3 / 5 * 0.5))

    def test_holm(self):
        # All differences of one sign and without ties: p = 2 / 2**n, so 1/4, 1/16, 1/8 for n = 3, 5, 4.
        groups = []
        for gamma, n in ((0.1, 3), (0.2, 5), (0.3, 4), (0.4, 1)):
            groups += [
                rows_of("ad:paper", [0.5 + 0.05 * k for k in range(1, n + 1)], gamma=gamma),
                rows_of("zero", [0.5] * n, gamma=gamma),
            ]
        found = significance(table(*groups), n_resamples=FEW)
        assert found["p"].tolist() == pytest.approx([1 / 4, 1 / 16, 1 / 8, NAN], nan_ok=True)
        # Sorted: 1/16 × 3 = 3/16, 1/8 × 2 = 1/4, 1/4 × 1 = 1/4; the row without p is not a test.
        assert found["p_holm"].tolist() == pytest.approx([1 / 4, 3 / 16, 1 / 4, NAN], nan_ok=True)

    def test_seed_determines_everything(self, measured):
        first = significance(measured, seed=3, n_resamples=FEW)
        pd.testing.assert_frame_equal(first, significance(measured, seed=3, n_resamples=FEW))
        other = significance(measured, seed=4, n_resamples=FEW)
        assert (first[["ci_low", "ci_high"]] != other[["ci_low", "ci_high"]]).any(axis=None)
        pd.testing.assert_series_equal(first["p"], other["p"])

    def test_interval_does_not_depend_on_the_other_rows(self, measured):
        whole = only(significance(measured, n_resamples=FEW), gamma=0.9, baseline="avg")
        shuffled = measured[(measured["gamma"] == 0.9) & (measured["masking"] != "zero")].sample(frac=1, random_state=0)
        alone = only(significance(shuffled, n_resamples=FEW), gamma=0.9, baseline="avg")
        for name in ("n", "difference", "ci_low", "ci_high", "p"):
            assert alone[name] == whole[name]
        assert alone["p_holm"] < whole["p_holm"]

    def test_rows_with_the_same_differences_draw_from_different_generators(self):
        rhos = np.random.default_rng(0).uniform(size=30).tolist()
        groups = [
            rows_of(masking, values, gamma=gamma)
            for gamma in (0.1, 0.2)
            for masking, values in (("ad:paper", rhos), ("zero", [0.5] * 30), ("avg", [0.5] * 30))
        ]
        assert significance(table(*groups), n_resamples=FEW)["ci_low"].nunique() == 4

    @pytest.mark.slow
    def test_interval_is_the_same_in_another_process(self, measured, tmp_path):
        # Where Python's own hash of a str, for one, is another.
        measured.to_pickle(tmp_path / "records")
        code = (
            "import pandas, sys; from captum_ad.metrics.statistics import significance; "
            f"found = significance(pandas.read_pickle(sys.argv[1]), n_resamples={FEW}); "
            "print(*[low.hex() for low in found['ci_low']])"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "records")]
        there = subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": "1"}, text=True)
        assert there.split() == [low.hex() for low in significance(measured, n_resamples=FEW)["ci_low"]]

    @pytest.mark.parametrize("difference", [0.0, 0.1, -0.3])
    def test_equal_differences_are_their_own_interval(self, difference):
        zero = [0.3, 0.7, 0.6]  # the mean of three times 0.1 is not 0.1
        records = table(rows_of("ad:paper", [rho + difference for rho in zero]), rows_of("zero", zero))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = significance(records).iloc[0]
        assert found["difference"] == found["ci_low"] == found["ci_high"] == difference
        assert found["p"] == (1.0 if difference == 0 else 2 / 2**3)

    @pytest.mark.parametrize(("ad", "n"), [([0.9, None, None], 1), ([None, 0.9, None], 0), ([None] * 3, 0)])
    def test_too_few_pairs_give_nan(self, ad, n):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = significance(table(rows_of("ad:paper", ad), rows_of("zero", [0.5, None, 0.4]))).iloc[0]
        assert found["n"] == n
        assert found[["difference", "ci_low", "ci_high", "p", "p_holm"]].isna().all()

    def test_a_masking_is_compared_where_it_has_rows(self):
        records = table(
            rows_of("ad:paper", [0.5, 0.6], gamma=0.1),
            rows_of("ad:paper", [0.5, 0.6], gamma=0.2),
            rows_of("ad:other", [0.5, 0.6], gamma=0.2),
            rows_of("zero", [0.1, 0.3], gamma=0.2),
            rows_of("avg", [0.1, 0.3, 0.7], gamma=0.2),
            rows_of("zero", [0.1, 0.3], gamma=0.3),
        )
        found = significance(records, n_resamples=FEW)
        assert found["gamma"].tolist() == [0.2] * 4
        assert found["ad"].tolist() == ["ad:paper", "ad:paper", "ad:other", "ad:other"]
        assert found["baseline"].tolist() == ["zero", "avg"] * 2
        assert found["n"].tolist() == [2] * 4

    def test_best_baseline_is_chosen_over_the_images_that_all_baselines_have(self):
        groups = [
            rows_of("ad:paper", [0.5, 0.5, 0.5, 0.5]),
            rows_of("zero", [0.5, 0.6, 0.0, 0.0]),
            rows_of("avg", [0.4, 0.5, None, 0.1]),  # the better mean of its own, 0.33 to 0.28
            rows_of("max", [0.3, 0.4, 0.9, None]),
        ]
        found = significance(table(*groups), n_resamples=FEW)
        assert found["is_best"].tolist() == [True, False, False]
        lowest = significance(table(*groups), higher_is_better=False, n_resamples=FEW)
        assert lowest["is_best"].tolist() == [False, False, True]
        assert found["is_best"].dtype == bool

    def test_no_baseline_is_best_without_common_images_and_the_first_of_equals_is(self):
        apart = table(rows_of("ad:paper", [0.5, 0.5]), rows_of("zero", [0.5, None]), rows_of("avg", [None, 0.4]))
        assert significance(apart, n_resamples=FEW)["is_best"].tolist() == [False, False]
        equal = table(rows_of("ad:paper", [0.5] * 3), rows_of("zero", [0.3, 0.2, 0.1]), rows_of("avg", [0.1, 0.2, 0.3]))
        assert sum([0.3, 0.2, 0.1]) < sum([0.1, 0.2, 0.3])
        assert significance(equal, n_resamples=FEW)["is_best"].tolist() == [True, False]

    def test_size_is_compared_at_thresholds_only(self, measured):
        found = significance(measured, "size", higher_is_better=False, n_resamples=FEW)
        assert found["gamma"].tolist() == [0.3, 0.3, 0.9, 0.9]
        with pytest.raises(ValueError, match="no method, backgrounds and gamma has both"):
            significance(measured[measured["gamma"].isna()], "size")

    def test_values_of_rows_without_an_explanation_do_not_count(self):
        records = table(rows_of("ad:paper", [0.5, 0.5, None]), rows_of("zero", [0.5, 0.5, 0.5]))
        records.loc[2, "seconds"] = 1000.0
        found = significance(records, "seconds").iloc[0]
        assert (found["n"], found["difference"]) == (2, 0.0)
