"""The figure of a recommendation: a panel per test, a row per masking."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from captum_ad._common.drawing import AD_COLORS, new_figure, show
from captum_ad.metrics.statistics import is_ad

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from captum_ad.metrics.recommendation_table import Recommendation

# Inches.
PANEL, LETTER, MARGIN = 1.75, 0.085, 0.3
ROW, ABOVE = 0.3, 1.6

AD_COLOR, PAINT_COLOR = AD_COLORS[0], "#7a7a7a"
BAND = "#e8f1f8"
CHARACTERS_PER_INCH = 13


def plot_recommendation(
    recommendation: Recommendation,
    *,
    plt_fig_axis: tuple[Figure, Sequence[Axes]] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Plot the result of each masking in each test.

    Parameters
    ----------
    recommendation : Recommendation
        The result of :func:`~captum_ad.metrics.recommend_rule`.
    plt_fig_axis : (Figure, sequence of Axes), optional
        Where to draw, one axis per panel. Default: a new figure.
    use_pyplot : bool
        Whether to make the figure with pyplot and show it, as in Captum.

    Returns
    -------
    figure : Figure
    axes : array of Axes
        Panels for the score and for the tests in which a good masking keeps the class; with boxes, also for the change
        of confidence when the object (filled) or the control (hollow) is hidden. Dots are means, lines their 95 %
        intervals. The best masking is on top, and a dotted line marks the best baseline.

    Raises
    ------
    ValueError
        If the number of axes does not equal that of panels.
    ImportError
        If matplotlib is missing.
    """
    table = recommendation.table()
    changed = list(dict.fromkeys(table["test"][(table["value"] == "change") & table["test"].str.endswith("hidden")]))
    kept = [test for test in dict.fromkeys(table["test"][table["value"] == "kept"]) if test not in changed]
    panels = len(kept) + bool(changed)
    rows = recommendation.ranking
    size = (MARGIN + LETTER * max(map(len, rows)) + panels * PANEL, ABOVE + ROW * len(rows))
    figure, given = plt_fig_axis or new_figure(use_pyplot, size, 1, panels)
    axes = np.asarray(given, dtype=object).ravel()
    if len(axes) != panels:
        raise ValueError(f"plt_fig_axis: expected {panels} axes, one per panel, got {len(axes)}")
    for axis, test in zip(axes, kept):
        _draw(axis, table[(table["test"] == test) & (table["value"] == "kept")], rows, hollow=False)
        _draw_reference(axis, table, test, recommendation.reference)
        axis.set(title=test, xlim=(-0.04, 1.04), xticks=[0, 0.5, 1], xticklabels=["0", "50 %", "100"])
    if changed:
        _draw_changes(axes[-1], table, changed, rows)
    for position, axis in enumerate(axes):
        _lay_out(axis, rows, recommendation, named=position == 0)
    if plt_fig_axis is None:
        width = int(size[0] * CHARACTERS_PER_INCH)
        figure.suptitle(textwrap.fill(recommendation.sentence, width), fontsize=9.5, x=0.01, ha="left")
        legend = (
            f"how often the class is kept, {recommendation.count} photographs (mean and 95 % interval); blue: AD, "
            "gray: paint, dotted: the best paint, shaded: the best and its equals"
        )
        figure.supxlabel(textwrap.fill(legend, width), fontsize=9)
    show(use_pyplot)
    return figure, axes


def _draw(axis: Axes, values: pd.DataFrame, rows: Sequence[str], *, hollow: bool, offset: float = 0.0) -> None:
    by_masking = values.set_index("masking")
    for place, masking in enumerate(rows):
        one = by_masking.loc[masking]
        color = AD_COLOR if is_ad(masking) else PAINT_COLOR
        axis.plot([one["low"], one["high"]], [place + offset] * 2, color=color, linewidth=2, alpha=0.45, zorder=2)
        face = "white" if hollow else color
        axis.plot(one["mean"], place + offset, "o", color=color, markerfacecolor=face, markersize=5.5, zorder=3)


def _draw_reference(axis: Axes, table: pd.DataFrame, test: str, reference: str) -> None:
    if not is_ad(reference):
        chosen = (table["test"] == test) & (table["value"] == "kept") & (table["masking"] == reference)
        axis.axvline(float(table["mean"][chosen].iloc[0]), color=PAINT_COLOR, linestyle=":", linewidth=1, zorder=1)


def _draw_changes(axis: Axes, table: pd.DataFrame, tests: Sequence[str], rows: Sequence[str]) -> None:
    """Draw changes of confidence: filled for the object, the first test, and hollow for the control."""
    for test, hollow, offset in zip(tests, (False, True), (-0.14, 0.14)):
        _draw(axis, table[(table["test"] == test) & (table["value"] == "change")], rows, hollow=hollow, offset=offset)
    axis.axvline(0, color="black", linewidth=0.8, zorder=1)
    title = "change with object ●\n" + ("or control ○ hidden" if len(tests) > 1 else "hidden")
    axis.set(title=title, xlim=(-1.04, 0.54), xticks=[-1, -0.5, 0, 0.5])
    axis.set_xticklabels(["−1", "−.5", "0", ".5"])


def _lay_out(axis: Axes, rows: Sequence[str], recommendation: Recommendation, *, named: bool) -> None:
    axis.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=rows if named else [])
    level = [recommendation.best, *recommendation.rivals] if recommendation.rivals else [recommendation.best]
    for place, masking in enumerate(rows):
        if masking in level:
            axis.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0, zorder=0)
    for label, masking in zip(axis.get_yticklabels(), rows):
        label.set_color(AD_COLOR if is_ad(masking) else "black")
        label.set_fontweight("bold" if masking == recommendation.best and recommendation.clear else "normal")
    axis.title.set_fontsize(9.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", labelsize=9, length=0)
    axis.grid(axis="x", color="#e0e0e0", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
