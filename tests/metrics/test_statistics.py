"""Summaries and paired tests against numbers worked by hand and against scipy called directly."""

import math
import sys

import numpy as np
import pandas as pd
import pytest

from captum_ad import UnknownNameError
from captum_ad.metrics.statistics import COLUMNS, VALUES, significance, summarize
from tests.metrics.rows import FEW, NAN, only, row, rows_of, table


class TestSummarize:
    def test_mean_and_standard_error_are_of_the_images_with_an_explanation(self):
        sizes = iter([0.1, 0.3, 0.2, NAN])
        rows = [each | {"size": next(sizes)} for each in rows_of("zero", [0.2, 0.4, 0.9, None])]
        rows[3] |= {"seconds": 100.0, "confidence_planted": 0.0}  # measured, but of no explanation
        summary = only(summarize(table(rows)), masking="zero")
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
        summary = summarize(records.assign(unrelated="x"))
        means = [f"{name}_{statistic}" for name in VALUES for statistic in ("mean", "sem")]
        assert list(summary.columns) == ["method", "masking", "backgrounds", "gamma", "n", "found", "empty", *means]
        assert summary["rho_mean"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert summary["masking"].tolist() == ["zero", "ad:paper", "zero", "avg", "avg"]

    def test_one_image_has_no_standard_error_and_none_has_no_mean(self):
        summary = summarize(table(rows_of("zero", [0.5, None]), rows_of("avg", [None, None])))
        one, none = only(summary, masking="zero"), only(summary, masking="avg")
        assert (one["rho_mean"], one["found"]) == (0.5, 0.5)
        assert math.isnan(one["rho_sem"])
        assert (none["n"], none["found"]) == (2, 0.0)
        assert none[[f"{name}_mean" for name in VALUES]].isna().all()

    def test_empty_explanations_are_counted_and_in_no_mean(self):
        rows = table(rows_of("zero", [1.0], size=0.0), rows_of("zero", [0.4, 0.6, 0.8])[1:])
        summary = only(summarize(rows), masking="zero")
        assert (summary["n"], summary["found"], summary["rho_mean"]) == (3, 1.0, pytest.approx(0.7))
        assert summary["empty"] == pytest.approx(1 / 3)
        nothing = summarize(table(rows_of("zero", [0.3], gamma=NAN, size=0.0)))
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
        summary = summarize(records)
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
        assert summarize(records)["rho_mean"].tolist() == pytest.approx([0.2, 0.5])
        pd.testing.assert_frame_equal(records, before)


class TestBadInput:
    @pytest.mark.parametrize("read", [summarize, significance])
    @pytest.mark.parametrize("name", COLUMNS)
    def test_missing_column(self, measured, read, name):
        with pytest.raises(ValueError, match=rf"records lack {name}: expected the columns image, .*; add them"):
            read(measured.drop(columns=name))

    @pytest.mark.parametrize("read", [summarize, significance])
    def test_no_rows(self, measured, read):
        with pytest.raises(ValueError, match="no rows"):
            read(measured.iloc[:0])

    @pytest.mark.parametrize("read", [summarize, significance])
    @pytest.mark.parametrize("gamma", [0.5, NAN])
    def test_repeated_row(self, read, gamma):
        records = table(rows_of("ad:paper", [0.1, 0.2], gamma=gamma), rows_of("zero", [0.1, 0.2, 0.3], gamma=gamma))
        again = pd.concat([records, records.iloc[3:4].assign(rho=0.9, target=7)])
        with pytest.raises(ValueError, match=r"repetitions in 1 rows, first image='image1', .*masking='zero'"):
            read(again)

    def test_row_without_level(self):
        with pytest.raises(ValueError, match=r"a gamma, or .*got neither in 1 rows, first image='image1'"):
            summarize(table([row("image0", "zero", 0.5), row("image1", "zero", 0.5, gamma=NAN, size=NAN)]))

    @pytest.mark.parametrize(("name", "given"), [("image", 7), ("backgrounds", NAN), ("method", 1.5)])
    def test_names_that_are_no_str(self, name, given):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), name: given}])
        with pytest.raises(ValueError, match=f"expected only str in '{name}', got {given}"):
            summarize(records)

    @pytest.mark.parametrize("given", ["False", None, 2])
    def test_found_that_is_no_bool(self, given):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), "found": given}])
        with pytest.raises(ValueError, match="expected only True and False in 'found'"):
            summarize(records)

    @pytest.mark.parametrize("name", ["gamma", *VALUES])
    def test_values_that_are_no_numbers(self, name):
        records = table([row("image0", "zero", 0.5), {**row("image1", "zero", 0.5), name: "much"}])
        with pytest.raises(ValueError, match=f"expected numbers or NaN in '{name}'.*much"):
            summarize(records)

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
        with pytest.raises(ImportError, match=r'pip install .*"\.\[metrics\]"'):
            significance(measured, n_resamples=FEW)
