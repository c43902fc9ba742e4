"""Figures of ρ over γ and over size: lines against the summaries that they stand for."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from captum_ad.metrics.plots import (
    plot_rho_over_gamma,
    plot_rho_over_size,
)

pytestmark = pytest.mark.usefixtures("agg")
NAN = float("nan")
OVER = {plot_rho_over_gamma: "gamma", plot_rho_over_size: "size"}
both = pytest.mark.parametrize("plot", OVER)


def lines_of(axis):
    """Legend entry to (x, y, lower and upper ends of the error bars, line)."""
    found = {}
    for container in axis.containers:
        line, _, (bars,) = container.lines
        ends = np.array([segment[:, 1] if len(segment) else [NAN, NAN] for segment in bars.get_segments()])
        found[container.get_label()] = (*line.get_xydata().T, ends, line)
    return found


class TestRho:
    @both
    def test_lines_are_means_and_bars_are_standard_errors(self, records, plot):
        _, axis = plot(records, "occlusion", "K9", use_pyplot=False)
        level = OVER[plot]
        chosen = records[(records["method"] == "occlusion") & (records["backgrounds"] == "K9")]
        chosen = chosen[chosen["gamma"].notna() == (level == "gamma")]
        found = lines_of(axis)
        assert [label.split()[0] for label in found] == ["zero", "ad:paper", "avg", "ad:other"]
        for label, (x, y, ends, _) in found.items():
            rhos = chosen[chosen["masking"] == label.split()[0]].groupby(level)["rho"]
            assert list(x) == ([0.1, 0.5, 0.9] if level == "gamma" else [0.1, 0.2])
            np.testing.assert_allclose(y, rhos.mean())
            np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, rhos.std(ddof=1) / np.sqrt(rhos.count()))
            has_bar = np.isfinite(ends).all(1)
            np.testing.assert_allclose(ends.mean(1)[has_bar], np.asarray(y)[has_bar])
            assert has_bar.tolist() == [True, True, label.split()[0] != "zero"][: len(x)]

    def test_legend_says_how_large_the_explanations_are(self, records):
        _, axis = plot_rho_over_gamma(records, "lime", "K1", use_pyplot=False)
        # Sizes are 0.01, 0.05 and 0.09 above each masking's own.
        assert [text.get_text() for text in axis.get_legend().get_texts()] == [
            "zero (mean size 0.25)",
            "ad:paper (mean size 0.45)",
            "avg (mean size 0.15)",
            "ad:other (mean size 0.35)",
        ]
        _, axis = plot_rho_over_size(records, "lime", "K1", use_pyplot=False)
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["zero", "ad:paper", "avg", "ad:other"]

    @both
    def test_ad_is_solid_and_baselines_are_dashed_and_all_are_told_apart(self, records, plot):
        _, axis = plot(records, "lime", "K1", use_pyplot=False)
        styles = {}
        for label, (_, _, _, line) in lines_of(axis).items():
            styles[label.split()[0]] = (line.get_linestyle(), to_hex(line.get_color()), line.get_marker())
        assert [style[0] for style in styles.values()] == ["--", "-", "--", "-"]
        assert len({style[1] for style in styles.values()}) == 4
        assert styles["zero"][2] != styles["avg"][2]

    def test_a_masking_looks_the_same_in_all_figures_of_the_records(self, records):
        fewer = records[(records["masking"] != "ad:paper") | (records["method"] != "lime")]
        colors = []
        for method in ("occlusion", "lime"):
            _, axis = plot_rho_over_size(fewer, method, "K1", use_pyplot=False)
            colors.append(lines_of(axis)["ad:other"][3].get_color())
        assert colors[0] == colors[1]

    @both
    def test_labels_limits_and_a_legend_that_hides_nothing(self, records, plot):
        figure, axis = plot(records, "occlusion", "K1", use_pyplot=False)
        figure.draw_without_rendering()
        assert axis.get_ylim() == (0, 1)
        assert "ρ" in axis.get_ylabel()
        assert ("γ" if plot is plot_rho_over_gamma else "size") in axis.get_xlabel()
        assert "occlusion" in axis.get_title()
        assert "K1" in axis.get_title()
        legend = axis.get_legend().get_window_extent()
        assert legend.x0 >= axis.get_window_extent().x1
        assert legend.x1 <= figure.bbox.x1

    @both
    def test_unknown_method_and_context(self, records, plot):
        with pytest.raises(ValueError, match="no method 'rise' in records: expected one of 'occlusion', 'lime'"):
            plot(records, "rise", "K1", use_pyplot=False)
        with pytest.raises(ValueError, match="no backgrounds 'K9' of method 'lime' in records: expected one of 'K1'"):
            plot(records, "lime", "K9", use_pyplot=False)

    @both
    def test_no_rows_of_that_sort(self, records, plot):
        of_other_sort = records["gamma"].isna() == (plot is plot_rho_over_gamma)
        other = {plot_rho_over_gamma: plot_rho_over_size, plot_rho_over_size: plot_rho_over_gamma}[plot]
        with pytest.raises(ValueError, match=f"'lime', 'K1': expected rows at .*got none; {other.__name__} shows"):
            plot(records[of_other_sort], "lime", "K1", use_pyplot=False)
        other(records[of_other_sort], "lime", "K1", use_pyplot=False)

    @both
    def test_bad_records(self, records, plot):
        with pytest.raises(ValueError, match="records lack rho"):
            plot(records.drop(columns="rho"), "lime", "K1", use_pyplot=False)
