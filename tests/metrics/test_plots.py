"""Figures of explanations: pixels against those expected; and Captum's conventions, for all figures."""

import sys
import warnings
from unittest import TestCase

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from captum_ad.metrics.plots import (
    OUTLINE,
    WHITENED,
    plot_explanation,
    plot_planted,
    plot_rho_over_gamma,
    plot_rho_over_size,
)

NAN = float("nan")
pytestmark = pytest.mark.usefixtures("agg")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).uniform(size=(5, 7, 3))


@pytest.fixture(scope="module")
def mask():
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:3, 4:] = True  # as far as the right edge
    return mask


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


def shown(axis):
    (drawn,) = axis.images
    return np.asarray(drawn.get_array())


class TestExplanation:
    def test_pixels_of_the_explanation_stay_and_others_fade(self, image, mask):
        _, axis = plot_explanation(image, mask, use_pyplot=False)
        np.testing.assert_array_equal(shown(axis)[mask], image[mask])
        gray = (image[0, 0, 0] + image[0, 0, 1] + image[0, 0, 2]) / 3
        np.testing.assert_allclose(shown(axis)[0, 0], [WHITENED + (1 - WHITENED) * gray] * 3)
        outside = shown(axis)[~mask]
        assert (outside.max(1) == outside.min(1)).all()
        assert outside.min() >= WHITENED
        assert not axis.axison

    def test_every_kind_of_image_and_mask_shows_the_same(self, image, mask):
        of_array = shown(plot_explanation(image, mask, use_pyplot=False)[1])
        chw = tensor(image)
        for given in (chw, chw[None], chw.clone().requires_grad_()):
            for which in (mask, torch.from_numpy(mask)):
                _, axis = plot_explanation(given, which, use_pyplot=False)
                np.testing.assert_array_equal(shown(axis), of_array)
        _, axis = plot_explanation(chw.to(torch.bfloat16), mask, use_pyplot=False)
        np.testing.assert_allclose(shown(axis), of_array, atol=0.01)

    def test_outline_runs_between_the_pixels_and_closes_at_the_edge(self, image, mask):
        _, axis = plot_explanation(image, mask, use_pyplot=False)
        (outline,) = axis.collections
        (path,) = outline.get_paths()
        assert not outline.get_clip_on()
        assert to_hex(outline.get_edgecolor()[0]) == OUTLINE
        low, high = path.vertices.min(0), path.vertices.max(0)
        assert (low.tolist(), high.tolist()) == ([3.5, 0.5], [6.5, 2.5])
        assert path.vertices[0].tolist() == path.vertices[-1].tolist()
        assert (axis.get_xlim(), axis.get_ylim()) == ((-0.5, 6.5), (4.5, -0.5))

    @pytest.mark.parametrize(("size", "all_of_it"), [((5, 7), True), ((5, 7), False), ((1, 1), True), ((1, 9), False)])
    def test_all_none_and_a_single_pixel(self, size, all_of_it):
        image = np.full((*size, 3), 0.25)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure, axis = plot_explanation(image, np.full(size, all_of_it), use_pyplot=False)
            figure.draw_without_rendering()
        np.testing.assert_allclose(shown(axis), image if all_of_it else WHITENED + (1 - WHITENED) * image)
        assert len(axis.collections) == all_of_it

    def test_title(self, image, mask):
        assert plot_explanation(image, mask, title="espresso ✓", use_pyplot=False)[1].get_title() == "espresso ✓"
        assert plot_explanation(image, mask, use_pyplot=False)[1].get_title() == ""

    def test_overshoot_of_rounding_is_cut_off(self, mask):
        with TestCase().assertNoLogs():  # matplotlib would cut it off too, but not in silence
            _, axis = plot_explanation(np.full((5, 7, 3), 1 + 1e-7), mask, use_pyplot=False)
        assert shown(axis).max() == 1


class TestPlanted:
    def test_image_where_the_mask_is_and_background_elsewhere(self, image, mask):
        backgrounds = torch.rand(7, 3, 5, 7, generator=torch.Generator().manual_seed(0))
        titles = [f"class {index}" for index in range(7)]
        figure, axes = plot_planted(image, mask, backgrounds, titles=titles, use_pyplot=False)
        assert axes.shape == (7,)
        for axis, background, title in zip(axes, backgrounds.double().permute(0, 2, 3, 1).numpy(), titles):
            np.testing.assert_array_equal(shown(axis)[mask], image[mask])
            np.testing.assert_array_equal(shown(axis)[~mask], background[~mask])
            assert axis.get_title() == title
        assert not any(axis.axison for axis in figure.axes)  # those without a background, too

    def test_every_kind_of_backgrounds_shows_the_same(self, image, mask):
        arrays = np.random.default_rng(2).uniform(size=(2, 5, 7, 3))
        for given in (arrays, list(arrays), [tensor(array)[None] for array in arrays], [arrays[0], tensor(arrays[1])]):
            _, axes = plot_planted(tensor(image), torch.from_numpy(mask), given, use_pyplot=False)
            for axis, background in zip(axes, arrays, strict=True):
                np.testing.assert_array_equal(shown(axis), np.where(mask[..., None], image, background))
                assert axis.get_title() == ""

    def test_bad_backgrounds_titles_and_axes(self, image, mask):
        with pytest.raises(ValueError, match="at least one background"):
            plot_planted(image, mask, [], use_pyplot=False)
        with pytest.raises(ValueError, match=r"of the image's size \(5, 7\), got \[\(5, 7\), \(7, 5\)\]"):
            plot_planted(image, mask, [image, image.transpose(1, 0, 2)], use_pyplot=False)
        with pytest.raises(ValueError, match=r"background 1: expected values in \[0, 1\], got"):
            plot_planted(image, mask, [image, image + 1], use_pyplot=False)
        with pytest.raises(ValueError, match=r"background 0: expected an array.*Tensor \(5, 7\)"):
            plot_planted(image, mask, tensor(image), use_pyplot=False)
        for titles in (["one"], "ab"):
            with pytest.raises(ValueError, match="expected 2 titles"):
                plot_planted(image, mask, [image, image], titles=titles, use_pyplot=False)
        figure = Figure()
        with pytest.raises(ValueError, match="expected 2 axes, one per background, got 3"):
            plot_planted(image, mask, [image, image], plt_fig_axis=(figure, figure.subplots(1, 3)), use_pyplot=False)


@pytest.mark.parametrize("plot", [plot_explanation, lambda image, mask, **o: plot_planted(image, mask, [image], **o)])
class TestBadImages:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (np.zeros((3, 5, 7)), r"image: expected an array of shape \(H, W, 3\).*got ndarray \(3, 5, 7\)"),
            (np.zeros((5, 7)), r"got ndarray \(5, 7\)"),
            (torch.zeros(5, 7, 3), r"or a tensor of shape \(3, H, W\).*got Tensor \(5, 7, 3\)"),
            (torch.zeros(2, 3, 5, 7), r"got Tensor \(2, 3, 5, 7\)"),
            (torch.zeros(3, 0, 7), r"got Tensor \(3, 0, 7\)"),
            (np.zeros((5, 7, 3), dtype=np.uint8), "expected floats.*divide 0 to 255 by 255"),
            (torch.zeros(3, 5, 7, dtype=torch.int64), "expected floats.*divide 0 to 255 by 255"),
            (torch.full((3, 5, 7), -2.1), r"got -2.1 to -2.1; undo the model's normalization"),
            (np.full((5, 7, 3), 1.5), r"got 1.5 to 1.5"),
            (np.full((5, 7, 3), NAN), r"got nan"),
        ],
    )
    def test_image(self, mask, plot, bad, message):
        with pytest.raises(ValueError, match=message):
            plot(bad, mask, use_pyplot=False)

    @pytest.mark.parametrize("bad", [np.ones((5, 7)), torch.ones(5, 7, dtype=torch.uint8), np.ones((7, 5), dtype=bool)])
    def test_mask(self, image, plot, bad):
        with pytest.raises(ValueError, match=r"mask: expected bool of the image's size \(5, 7\), got"):
            plot(image, bad, use_pyplot=False)


class TestCaptumsConventions:
    @pytest.fixture
    def calls(self, records, image, mask):
        """All four, as functions of the two options."""
        return [
            lambda **options: plot_rho_over_gamma(records, "lime", "K1", **options),
            lambda **options: plot_rho_over_size(records, "lime", "K1", **options),
            lambda **options: plot_explanation(image, mask, **options),
            lambda **options: plot_planted(image, mask, [image], **options),
        ]

    def test_pyplot_makes_and_shows_the_figure_unless_told_not_to(self, calls, monkeypatch):
        showings = []
        monkeypatch.setattr(pyplot, "show", lambda: showings.append(pyplot.gcf()))
        for call in calls:
            figure, _ = call(use_pyplot=False)
            assert isinstance(figure, Figure)
            assert (showings, pyplot.get_fignums()) == ([], [])
            figure, _ = call()
            assert showings == [figure]
            showings.clear()
            pyplot.close("all")

    def test_given_figure_and_axis_are_drawn_on_and_returned(self, calls):
        for call in calls:
            given = Figure()
            axis = given.subplots()
            several = call is calls[-1]
            figure, returned = call(plt_fig_axis=(given, [axis] if several else axis), use_pyplot=False)
            assert figure is given
            assert (returned[0] if several else returned) is axis
            assert axis.has_data()
        assert pyplot.get_fignums() == []

    def test_missing_matplotlib(self, calls, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        for call in calls:
            with pytest.raises(ImportError, match=r'pip install .*"\.\[metrics\]"'):
                call(use_pyplot=False)
