"""Summaries and paired tests against numbers worked by hand and against scipy called directly."""

import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from captum_ad import UnknownNameError
from captum_ad.metrics.statistics import COLUMNS, VALUES, significance, summarise

NAN = float("nan")
FEW = 199  # resamples


def row(image, masking, rho, *, gamma=0.5, size=0.25, method="occlusion", backgrounds="K1", found=True):
    confidence = 0.9
    if not found:
        rho = confidence = NAN
        size = size if math.isnan(gamma or NAN) else NAN
    given = (image, method, masking, 3, gamma, backgrounds, found, size, confidence, rho, 0.6, 2.0)
    return dict(zip(COLUMNS, given, strict=True))


def rows_of(masking, rhos, **others):
    """One row per image; None is an image without an explanation."""
    return [row(f"image{index}", masking, rho, found=rho is not None, **others) for index, rho in enumerate(rhos)]


def table(*groups):
    return pd.DataFrame([each for group in groups for each in group])


def only(frame, **values):
    """The one row with these values."""
    chosen = frame[np.logical_and.reduce([frame[name] == value for name, value in values.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


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


class TestSummarise:
    def test_mean_and_standard_error_are_of_the_images_with_an_explanation(self):
        sizes = iter([0.1, 0.3, 0.2, NAN])
        rows = [each | {"size": next(sizes)} for each in rows_of("zero", [0.2, 0.4, 0.9, None])]
        rows[3] |= {"seconds": 100.0, "confidence_planted": 0.0}  # measured, but of no explanation
        summary = only(summarise(table(rows)), masking="zero")
        assert (summary["n"], summary["found"]) == (4, 0.75)
        assert summary["rho_mean"] == pytest.approx(0.5)
        # Deviations -0.3, -0.1, 0.4: squares 0.26, variance 0.13 with ddof=1, over 3 images.
        assert summary["rho_sem"] == pytest.approx(math.sqrt(0.13 / 3))
        assert summary["size_mean"] == pytest.approx(0.2)
        assert summary["size_sem"] == pytest.approx(0.1 / math.sqrt(3))
        assert (summary["seconds_mean"], summary["seconds_sem"]) == (2.0, 0.0)
        assert summary["confidence_planted_mean"] == pytest.approx(0.6)

    def test_columns_and_order_of_first_appearance(self):
        records = table(
            rows_of("zero", [0.1], gamma=0.9),
            rows_of("ad:paper", [0.2], gamma=0.1),
            rows_of("zero", [0.3], gamma=0.1),
            rows_of("avg", [0.4], gamma=0.1, backgrounds="K9"),
            rows_of("avg", [0.5], gamma=0.1, backgrounds="K10"),
        )
        summary = summarise(records.assign(unrelated="x"))
        means = [f"{name}_{statistic}" for name in VALUES for statistic in ("mean", "sem")]
        assert list(summary.columns) == ["method", "masking", "backgrounds", "gamma", "n", "found", "empty", *means]
        assert summary["rho_mean"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert summary["masking"].tolist() == ["zero", "ad:paper", "zero", "avg", "avg"]

    def test_one_image_has_no_standard_error_and_none_has_no_mean(self):
        summary = summarise(table(rows_of("zero", [0.5, None]), rows_of("avg", [None, None])))
        one, none = only(summary, masking="zero"), only(summary, masking="avg")
        assert (one["rho_mean"], one["found"]) == (0.5, 0.5)
        assert math.isnan(one["rho_sem"])
        assert (none["n"], none["found"]) == (2, 0.0)
        assert none[[f"{name}_mean" for name in VALUES]].isna().all()

    def test_empty_explanations_are_counted_and_in_no_mean(self):
        rows = table(rows_of("zero", [1.0], size=0.0), rows_of("zero", [0.4, 0.6, 0.8])[1:])
        summary = only(summarise(rows), masking="zero")
        assert (summary["n"], summary["found"], summary["rho_mean"]) == (3, 1.0, pytest.approx(0.7))
        assert summary["empty"] == pytest.approx(1 / 3)
        nothing = summarise(table(rows_of("zero", [0.3], gamma=NAN, size=0.0)))
        assert nothing["empty"].tolist() == [0]  # asked for at that size
        both = table(rows_of("ad:paper", [0.9, 0.9]), rows_of("zero", [1.0], size=0.0), rows_of("zero", [0.4, 0.5])[1:])
        assert significance(both, n_resamples=FEW)["n"].tolist() == [1]

    def test_rows_of_equal_size_are_grouped_by_that_size(self):
        records = table(
            rows_of("zero", [0.1, 0.2, 0.3], gamma=NAN, size=0.1),
            rows_of("zero", [0.5, 0.7, 0.9], gamma=NAN, size=0.2),
            rows_of("zero", [0.8], gamma=NAN, size=0.3),
            rows_of("zero", [None, None], gamma=NAN, size=0.4),
            rows_of("zero", [1.0, 1.0], gamma=0.5, size=0.1),
        )
        summary = summarise(records)
        assert summary["size_mean"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.1]  # exactly: three times 0.1 is not 0.3
        np.testing.assert_array_equal(summary["size_sem"], [0.0, 0.0, NAN, NAN, 0.0])
        assert summary["gamma"].tolist() == pytest.approx([NAN] * 4 + [0.5], nan_ok=True)
        assert summary["rho_mean"].tolist() == pytest.approx([0.2, 0.7, 0.8, NAN, 1.0], nan_ok=True)
        assert summary["n"].tolist() == [3, 3, 1, 2, 2]

    def test_none_and_categories_are_read_and_records_stay_as_they_are(self):
        records = table(rows_of("zero", [0.1, 0.3], gamma=None), rows_of("avg", [0.5], gamma=0.5)).astype(
            {"masking": "category", "gamma": object}
        )
        before = records.copy(deep=True)
        assert summarise(records)["rho_mean"].tolist() == pytest.approx([0.2, 0.5])
        pd.testing.assert_frame_equal(records, before)


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
        # Sorted: 1/16 × 3 = 3/16, 1/8 × 2 = 1/4, 1/4 × 1 = 1/4; the row without p is no test.
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


class TestBadInput:
    @pytest.mark.parametrize("read", [summarise, significance])
    @pytest.mark.parametrize("name", COLUMNS)
    def test_missing_column(self, measured, read, name):
        with pytest.raises(ValueError, match=rf"records lack {name}: expected the columns image, .*; add them"):
            read(measured.drop(columns=name))

    @pytest.mark.parametrize("read", [summarise, significance])
    def test_no_rows(self, measured, read):
        with pytest.raises(ValueError, match="no rows"):
            read(measured.iloc[:0])

    @pytest.mark.parametrize("read", [summarise, significance])
    @pytest.mark.parametrize("gamma", [0.5, NAN])
    def test_repeated_row(self, read, gamma):
        records = table(rows_of("ad:paper", [0.1, 0.2], gamma=gamma), rows_of("zero", [0.1, 0.2, 0.3], gamma=gamma))
        again = pd.concat([records, records.iloc[3:4].assign(rho=0.9, target=7)])
        with pytest.raises(ValueError, match=r"repetitions in 1 rows, first image='image1', .*masking='zero'"):
            read(again)

    def test_row_without_level(self):
        with pytest.raises(ValueError, match=r"a gamma, or .*got neither in 1 rows, first image='image1'"):
            summarise(table([row("image0", "zero", 0.5), row("image1", "zero", 0.5, gamma=NAN, size=NAN)]))

    @pytest.mark.parametrize(("name", "given"), [("image", 7), ("backgrounds", NAN), ("method", 1.5)])
    def test_names_that_are_no_str(self, name, given):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), name: given}])
        with pytest.raises(ValueError, match=f"expected only str in '{name}', got {given}"):
            summarise(records)

    @pytest.mark.parametrize("given", ["False", None, 2])
    def test_found_that_is_no_bool(self, given):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), "found": given}])
        with pytest.raises(ValueError, match="expected only True and False in 'found'"):
            summarise(records)

    @pytest.mark.parametrize("name", ["gamma", *VALUES])
    def test_values_that_are_no_numbers(self, name):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), name: "much"}])
        with pytest.raises(ValueError, match=f"expected numbers or NaN in '{name}'.*much"):
            summarise(records)

    def test_unknown_value(self, measured):
        with pytest.raises(UnknownNameError, match="did you mean 'rho'"):
            significance(measured, "rhoo")

    @pytest.mark.parametrize(
        ("side", "maskings"), {"baseline": ["ad:paper"], "Activation-Deactivation": ["zero", "AD"]}.items()
    )
    def test_one_side_only(self, side, maskings):
        with pytest.raises(ValueError, match=f"no {side} in records: .*got only '{maskings[0]}'"):
            significance(table(*(rows_of(masking, [0.1, 0.2]) for masking in maskings)))

    def test_sides_that_never_meet(self):
        with pytest.raises(ValueError, match="no method, backgrounds and level has both"):
            significance(table(rows_of("ad:paper", [0.1, 0.2], method="lime"), rows_of("zero", [0.1, 0.2])))

    @pytest.mark.parametrize(
        "options", [{"seed": -1}, {"seed": 0.5}, {"n_resamples": 0}, {"confidence_level": 95}, {"confidence_level": 0}]
    )
    def test_options_out_of_range(self, measured, options):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
            significance(measured, **options)

    @pytest.mark.parametrize("module", ["pandas", "scipy.stats", "statsmodels.stats.multitest"])
    def test_missing_package(self, measured, monkeypatch, module):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r'pip install "captum_ad\[metrics\]"'):
            significance(measured, n_resamples=FEW)
