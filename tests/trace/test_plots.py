"""What the figures of a trace show: pictures against masks, lines against shares."""

import sys

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from captum_ad import ADForward, UnknownNameError
from captum_ad.trace.plots import plot_active_share, plot_trace
from tests.networks import Apply


def convolutions(kind, layers):
    return nn.Sequential(*(kind(2, 2, 3, padding=1) for _ in range(layers))).eval()


def traced(kind=nn.Conv2d, shape=(8, 6), rule="paper", layers=3, samples=1, per_channel=False, **options):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(samples, 2 if per_channel else 1, *shape, generator=generator) < 0.15
    model = convolutions(kind, layers)
    return ADForward(model, rule, **options).trace(torch.randn(samples, 2, *shape), mask=mask)


def shown(axis):
    (drawn,) = axis.images
    return np.ma.filled(drawn.get_array().astype(float), np.nan)


class TestPictures:
    def test_they_are_the_masks_at_even_depths(self):
        trace = traced(rule="no-growth", layers=6, samples=2)
        _, axes = plot_trace(trace, sample=1, n=3, use_pyplot=False)
        assert len(axes) == 3
        for axis, checkpoint in zip(axes, (trace[0], trace[3], trace[6])):
            np.testing.assert_array_equal(shown(axis), checkpoint.mask[1, 0])
            place, size = axis.get_title().split("\n")
            assert place == checkpoint.place
            assert size == f"8×6, {100 * checkpoint.active[1]:.1f} %"
        assert len(plot_trace(trace, n=20, use_pyplot=False)[1]) == 7
        (last,) = plot_trace(trace, n=1, use_pyplot=False)[1]
        assert last.get_title().startswith("5\n")

    def test_titles_do_not_overlap_nor_leave_the_figure(self):
        figure, axes = plot_trace(traced(rule="no-growth", layers=9), n=10, use_pyplot=False)
        figure.draw_without_rendering()
        titles = [axis.title.get_window_extent() for axis in axes]
        for i, one in enumerate(titles):
            assert one.y1 <= figure.bbox.y1
            assert not any(one.overlaps(other) for other in titles[:i])
            assert not any(one.overlaps(axis.get_window_extent()) for axis in axes)

    def test_modules_by_path_also_where_nothing_is_renewed(self):
        model = nn.Sequential(convolutions(nn.Conv2d, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)).eval()
        mask = torch.zeros(5, 5)
        mask[2, 2] = 1
        trace = ADForward(model, "paper").trace(torch.randn(1, 2, 5, 5), mask=mask)
        _, axes = plot_trace(trace, modules=["0.0", "0", "1", "2"], use_pyplot=False)
        assert [shown(axis).sum() for axis in axes] == [9, 25, 25, 1]
        assert [axis.get_title() for axis in axes] == [
            "0.0\n5×5, 36 %",
            "0\n5×5, 100 %",
            "1\n5×5, 100 %",
            "2\n1×1, 100 %",
        ]

    def test_over_an_image(self):
        trace = traced(rule="no-growth")
        image = np.random.default_rng(0).uniform(size=(16, 12, 3))
        _, axes = plot_trace(trace, n=2, image=image, use_pyplot=False)
        for axis in axes:
            below, shade = axis.images
            np.testing.assert_array_equal(below.get_array(), image)
            np.testing.assert_array_equal(np.asarray(shade.get_array())[..., 3] == 0, trace[0].mask[0, 0])
            assert tuple(shade.get_extent()) == tuple(below.get_extent())

    def test_a_line_is_a_strip(self):
        trace = traced(nn.Conv1d, (9,), "no-growth")
        _, axes = plot_trace(trace, n=1, use_pyplot=False)
        np.testing.assert_array_equal(shown(axes[0]), trace[-1].mask[0])
        assert axes[0].get_title().split("\n")[1].startswith("9, ")

    def test_a_volume_shows_its_middle_slice(self):
        trace = traced(nn.Conv3d, (5, 4, 3), "no-growth")
        _, axes = plot_trace(trace, n=1, use_pyplot=False)
        np.testing.assert_array_equal(shown(axes[0]), trace[-1].mask[0, 0, 2])

    def test_channels_are_a_share_and_padding_is_gray(self):
        trace = traced(per_channel=True)
        _, (first, *_) = plot_trace(trace, use_pyplot=False)
        np.testing.assert_array_equal(shown(first), trace[0].mask[0].double().mean(0))
        padded = ADForward(nn.ZeroPad2d(1).eval()).trace(torch.randn(1, 2, 2, 2), mask=torch.eye(2))
        _, axes = plot_trace(padded, use_pyplot=False)
        picture = shown(axes[1])
        assert np.isnan(picture[0]).all()
        np.testing.assert_array_equal(picture[1:3, 1:3], np.eye(2))

    def test_channels_last(self):
        model = Apply(lambda x: x.permute(0, 2, 3, 1)).eval()
        mask = torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) < 0.5
        _, axes = plot_trace(ADForward(model).trace(torch.randn(1, 2, 8, 6), mask=mask), use_pyplot=False)
        np.testing.assert_array_equal(shown(axes[1]), mask)
        assert "\n8×6, " in axes[1].get_title()

    def test_errors(self):
        trace = traced(samples=2)
        with pytest.raises(ValueError, match="an index in the batch, 0 to 1, got 2"):
            plot_trace(trace, sample=2, use_pyplot=False)
        for n in (0, 1.5, True):
            with pytest.raises(ValueError, match="n must be an integer of at least 1"):
                plot_trace(trace, n=n, use_pyplot=False)
        with pytest.raises(UnknownNameError, match="unknown module with features in this trace '7'"):
            plot_trace(trace, modules=["7"], use_pyplot=False)
        with pytest.raises(ValueError, match="sequence of paths, got '01'"):
            plot_trace(trace, modules="01", use_pyplot=False)
        with pytest.raises(ValueError, match="at least one checkpoint"):
            plot_trace(trace, modules=[], use_pyplot=False)
        with pytest.raises(ValueError, match="image: expected an array of shape"):
            plot_trace(trace, image=np.zeros((8, 6)), use_pyplot=False)
        with pytest.raises(ValueError, match="two spatial dimensions can be drawn over an image"):
            plot_trace(traced(nn.Conv1d, (9,)), image=np.zeros((8, 6, 3)), use_pyplot=False)
        figure = Figure()
        with pytest.raises(ValueError, match="expected 2 axes, one per picture, got 3"):
            plot_trace(trace, n=2, plt_fig_axis=(figure, figure.subplots(1, 3)), use_pyplot=False)
        moved = ADForward(Apply(lambda x: x.permute(2, 0, 1, 3)).eval())
        with pytest.raises(ValueError, match=r"mask of Apply.forward .*first dimension is not the batch"):
            plot_trace(moved.trace(torch.randn(1, 2, 8, 6), mask=torch.eye(8)[:, :6]), use_pyplot=False)


class TestShares:
    def test_lines_are_the_shares_over_depth(self):
        traces = [traced(samples=2), traced(samples=2, rule="no-growth"), traced(samples=2, tau=0.3)]
        _, axis = plot_active_share(traces, use_pyplot=False)
        assert [line.get_label() for line in axis.lines] == ["paper", "no-growth", "paper, τ = 0.3"]
        assert len({to_hex(line.get_color()) for line in axis.lines}) == 3
        assert len({line.get_linestyle() for line in axis.lines}) == 3
        for line, trace in zip(axis.lines, traces):
            numbers, shares = line.get_data()
            assert list(numbers) == [*(c.number for c in trace), 3]
            assert list(shares) == [*(c.share for c in trace), trace[-1].share]
        assert axis.get_xlim() == (0, 3)
        assert [label.get_text() for label in axis.get_xticklabels()] == ["input", "0", "1", "2"]

    def test_one_sample_and_names(self):
        trace = traced(samples=2)
        _, axis = plot_active_share({"mine": trace}, sample=1, use_pyplot=False)
        assert axis.lines[0].get_label() == "mine"
        assert axis.lines[0].get_ydata()[0] == trace[0].active[1] != trace[0].share

    def test_nothing_masked_is_a_line_at_one(self):
        nothing = ADForward(convolutions(nn.Conv2d, 2)).trace(torch.randn(1, 2, 8, 6))
        _, axis = plot_active_share({"masked": traced(), "not": nothing}, use_pyplot=False)
        assert list(axis.lines[1].get_ydata()) == [1, 1]
        assert axis.lines[1].get_xdata()[-1] == 3
        plot_active_share(nothing, use_pyplot=False)

    def test_errors(self):
        with pytest.raises(ValueError, match="two traces have the same rule: give a mapping"):
            plot_active_share([traced(), traced()], use_pyplot=False)
        for none in ([], {}):
            with pytest.raises(ValueError, match="at least one trace"):
                plot_active_share(none, use_pyplot=False)
        with pytest.raises(ValueError, match="0 to 0, got 1"):
            plot_active_share(traced(), sample=1, use_pyplot=False)


@pytest.mark.parametrize("plot", [lambda trace, **o: plot_trace(trace, n=1, **o), plot_active_share])
class TestCaptumsConventions:
    def test_pyplot_makes_and_shows_the_figure_unless_told_not_to(self, plot, monkeypatch):
        showings = []
        monkeypatch.setattr(pyplot, "show", lambda: showings.append(pyplot.gcf()))
        figure, _ = plot(traced(), use_pyplot=False)
        assert isinstance(figure, Figure)
        assert (showings, pyplot.get_fignums()) == ([], [])
        figure, _ = plot(traced())
        assert showings == [figure]
        pyplot.close("all")

    def test_given_figure_and_axis_are_drawn_on_and_returned(self, plot):
        given = Figure()
        axis = given.subplots()
        figure, returned = plot(traced(), plt_fig_axis=(given, axis), use_pyplot=False)
        assert figure is given
        assert np.ravel(returned)[0] is axis
        assert axis.has_data()

    def test_missing_matplotlib(self, plot, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match=r'pip install .*"\.\[metrics\]"'):
            plot(traced(), use_pyplot=False)
