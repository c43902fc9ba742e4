"""Consistency, responsiveness and Friedman's test by hand, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from captum_ad.metrics import noise_robustness, noise_significance


def table(**methods: list[float]) -> pd.DataFrame:
    """Similarities of images, of which each has two levels that keep the class and one that changes it."""
    rows = []
    for method, values in methods.items():
        for i, value in enumerate(values):
            for level, kept in ((1, True), (2, True), (5, False)):
                rows.append((f"i{i}", method, "blur", level, kept, value if level < 5 else value / 2))
    return pd.DataFrame(rows, columns="image method noise level class_kept similarity".split())


class TestStatistics:
    def test_robustness_by_hand(self):
        records = pd.concat([table(a=[0.8, 0.4])]).reset_index(drop=True)
        records.loc[0, "similarity"] = np.nan
        (one,) = noise_robustness(records, by=["method"]).to_dict("records")
        consistency, responsiveness = (0.8 + 0.4 + 0.4) / 3, 1 - (0.4 + 0.2) / 2
        assert one == pytest.approx(
            {
                "method": "a",
                "consistency": consistency,
                "responsiveness": responsiveness,
                "robustness": consistency * responsiveness,
                "kept": 3,
                "changed": 2,
                "undefined": 1,
            }
        )

    def test_no_change_is_nan_with_its_count(self):
        by_level = noise_robustness(table(a=[0.8, 0.4])).set_index("level")
        assert by_level["responsiveness"].isna().tolist() == [True, True, False]
        assert by_level["robustness"].isna().tolist() == [True, True, True]
        assert by_level["changed"].tolist() == [0, 0, 2]
        assert by_level["consistency"].isna().tolist() == [False, False, True]

    def test_friedman_by_hand(self):
        found = noise_significance(table(a=[0.9, 0.8, 0.7, 0.9], b=[0.5, 0.6, 0.5, 0.4], c=[0.1, 0.2, 0.3, 0.1]))
        # every block ranks them alike: 12 / (4 · 3 · 4) · (4² + 8² + 12²) − 3 · 4 · 4
        assert found.statistic == pytest.approx(8)
        assert found.ranks["rank"].tolist() == [1, 2, 3]
        assert found.ranks["mean"].tolist() == pytest.approx([0.825, 0.5, 0.175])
        assert found.n == 4
        critical = 2.343 * (3 * 4 / (6 * 4)) ** 0.5  # Demšar's q of three methods at 5 %
        for pair in found.pairs.to_dict("records"):
            assert (pair["p"] < 0.05) == (abs(pair["ranks"]) > critical)
        assert noise_significance(table(a=[0.9] * 3, b=[0.5] * 3, c=[0.1] * 3), class_kept=False).ranks[
            "rank"
        ].tolist() == [
            3,
            2,
            1,
        ]

    def test_equal_methods_have_no_statistic(self):
        found = noise_significance(table(a=[0.9] * 3, b=[0.9] * 3, c=[0.9] * 3))
        assert math.isnan(found.p)
        assert set(found.pairs["p"]) == {1.0}

    def test_images_without_a_value_are_left_out(self):
        records = table(a=[0.9, 0.8, 0.7], b=[0.5, 0.6, 0.5], c=[0.1, 0.2, 0.3])
        records.loc[(records["image"] == "i0") & (records["method"] == "b"), "similarity"] = np.nan
        assert noise_significance(records).n == 2

    def test_refusals(self):
        with pytest.raises(ValueError, match="at least three methods"):
            noise_significance(table(a=[0.1, 0.2], b=[0.3, 0.4]))
        with pytest.raises(ValueError, match="no column 'noise'"):
            noise_robustness(table(a=[0.1]).drop(columns="noise"))
        with pytest.raises(ValueError, match="empty"):
            noise_robustness(table(a=[0.1]).head(0))
