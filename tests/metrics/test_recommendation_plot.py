"""The figure of a recommendation: dots against the numbers they stand for."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from captum_ad.metrics import recommend_rule
from captum_ad.metrics.recommendation_plot import AD_COLOR, PAINT_COLOR
from tests.metrics.missingness import network, photographs

KEPT = ["score", "75 % there", "50 % there", "25 % there", "middle 25 %"]


@pytest.fixture(scope="module", params=[False, True], ids=["", "boxes"])
def found(request):
    boxes = [(2, 2, 6, 6)] * 8 if request.param else None
    return recommend_rule(network(), photographs(8), boxes=boxes, maskings=["ad:paper", "avg", "zero"], patch=2)


def dots(axis):
    return [line for line in axis.lines if line.get_marker() == "o"]


def test_dots_are_means_and_lines_are_intervals(found):
    figure, axes = found.plot(use_pyplot=False)
    assert isinstance(figure, Figure)
    boxed = (found.records["test"] == "object alone").any()
    titles = [*KEPT, *(["object alone"] if boxed else [])]
    assert [axis.get_title() for axis in axes[: len(titles)]] == titles
    assert len(axes) == len(titles) + boxed
    table = found.table()
    assert [label.get_text() for label in axes[0].get_yticklabels()] == found.ranking
    for axis, test in zip(axes, titles):
        rows = table[(table["test"] == test) & (table["value"] == "kept")].set_index("masking").loc[found.ranking]
        assert [float(line.get_xdata()[0]) for line in dots(axis)] == pytest.approx(list(rows["mean"]))
        assert [int(line.get_ydata()[0]) for line in dots(axis)] == [0, 1, 2]
        spreads = [line.get_xdata() for line in axis.lines if line.get_linewidth() == 2 and len(line.get_xdata()) == 2]
        np.testing.assert_allclose(np.array(spreads, dtype=float), rows[["low", "high"]])
    colors = [to_hex(line.get_color()) for line in dots(axes[0])]
    assert colors == [AD_COLOR if masking.startswith("ad:") else PAINT_COLOR for masking in found.ranking]
    if boxed:
        changes = table[table["value"] == "change"].set_index(["test", "masking"])["mean"]
        expected = [changes[test, masking] for test in ("object hidden", "control hidden") for masking in found.ranking]
        assert [float(line.get_xdata()[0]) for line in dots(axes[-1])] == pytest.approx(expected)
        assert [line.get_markerfacecolor() == "white" for line in dots(axes[-1])] == [False] * 3 + [True] * 3


def test_the_figure_says_the_sentence(found):
    figure, _ = found.plot(use_pyplot=False)
    assert figure._suptitle.get_text().replace("\n", " ") == found.sentence


def test_it_draws_on_axes_that_are_given(found):
    _, axes = found.plot(use_pyplot=False)
    figure = Figure()
    given = figure.subplots(1, len(axes))
    same, drawn = found.plot(plt_fig_axis=(figure, given), use_pyplot=False)
    assert same is figure
    assert list(drawn) == list(given)
    with pytest.raises(ValueError, match=f"expected {len(axes)} axes, one per panel, got 1"):
        found.plot(plt_fig_axis=(figure, given[:1]), use_pyplot=False)
