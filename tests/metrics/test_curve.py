"""Curves: their area and what lies between the sizes that were measured."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from captum_ad.metrics import Curve


def curve(sizes: list[float], values: list[float]) -> Curve:
    return Curve(torch.tensor(sizes, dtype=torch.float64), torch.tensor(values, dtype=torch.float64))


@st.composite
def curves(draw: st.DrawFn, least: int = 2) -> Curve:
    """At shares k / n of up to ten million positions, unequally spaced, from anywhere to anywhere."""
    n = draw(st.sampled_from([1, 7, 100, 50_176, 10_000_000]))
    most = min(n + 1, 8)
    if most < least:
        n, most = least, least
    counts = sorted(draw(st.sets(st.integers(0, n), min_size=least, max_size=most)))
    heights = st.floats(-2, 2).map(lambda height: round(height, 6))
    return curve([k / n for k in counts], draw(st.lists(heights, min_size=len(counts), max_size=len(counts))))


def exact_area(found: Curve) -> Fraction:
    """The trapezoids in whole numbers."""
    points = list(zip(map(Fraction, found.sizes.tolist()), map(Fraction, found.values.tolist())))
    trapezoids = [(right - left) * (low + high) / 2 for (left, low), (right, high) in pairwise(points)]
    return sum(trapezoids) / (points[-1][0] - points[0][0])


class TestArea:
    @given(curves())
    def test_is_that_of_the_trapezoids(self, found):
        assert found.area == pytest.approx(float(exact_area(found)), abs=1e-9)

    @given(curves(), st.floats(-3, 3), st.floats(-3, 3))
    def test_is_in_the_unit_of_the_values(self, found, factor, shift):
        other = Curve(found.sizes, found.values * factor + shift)
        assert other.area == pytest.approx(factor * found.area + shift, abs=1e-6)

    @given(curves())
    def test_is_the_mean_of_what_lies_between(self, found):
        sizes = found.sizes.tolist()
        heights = [(right - left) * found.at((left + right) / 2) for left, right in pairwise(sizes)]
        assert found.area == pytest.approx(sum(heights) / (sizes[-1] - sizes[0]), abs=1e-6)

    @pytest.mark.parametrize(
        ("sizes", "values", "area"),
        [
            ([0, 1], [0, 1], 0.5),
            ([0, 0.1, 1], [0, 1, 1], 0.95),  # spaced unequally: the mean of the values is 2 / 3
            ([0, 0.5, 1], [1, 0, 1], 0.5),
            ([0.5, 1], [0.2, 0.4], 0.3),  # of the half that was measured
            ([0.25, 0.3, 0.75], [1, 0, 0], 0.05),
        ],
    )
    def test_of_curves_made_by_hand(self, sizes, values, area):
        assert curve(sizes, values).area == pytest.approx(area, abs=1e-12)

    @pytest.mark.parametrize(("sizes", "values"), [([0.5], [1.0]), ([], [])])
    def test_needs_two_points(self, sizes, values):
        with pytest.raises(ValueError, match="at least two sizes"):
            _ = curve(sizes, values).area


class TestAt:
    @given(curves(least=1))
    @example(curve([0.1, 0.1 + 1e-9, 0.3, 0.3 + 1e-9, 0.7 - 1e-9, 0.7, 1], [1, 2, 3, 4, 5, 6, 7]))
    @example(curve([k / 10_000_000 for k in range(3_000_000, 3_000_008)], [1, 2, 3, 4, 5, 6, 7, 8]))
    def test_a_size_that_was_measured_has_its_own_value(self, found):
        assert [found.at(size) for size in found.sizes.tolist()] == found.values.tolist()

    @given(curves(), st.data())
    def test_between_two_it_is_on_the_straight_line(self, found, data):
        size = data.draw(st.floats(float(found.sizes[0]), float(found.sizes[-1])))
        assert found.at(size) == pytest.approx(np.interp(size, found.sizes, found.values), abs=1e-6)

    @given(curves(), st.sampled_from([1e-9, 0.25, 0.5, 1 - 1e-9]))
    def test_it_never_leaves_the_two_beside_it(self, found, weight):
        # 1e-8: what rounding of the sizes and of the weight may add.
        sizes, values = found.sizes.tolist(), found.values.tolist()
        for i in range(len(sizes) - 1):
            size = sizes[i] + weight * (sizes[i + 1] - sizes[i])
            assert min(values[i : i + 2]) - 1e-8 <= found.at(size) <= max(values[i : i + 2]) + 1e-8

    @pytest.mark.parametrize(
        ("size", "value"), [(0, 0), (0.05, 0.5), (0.1, 1), (0.325, 0.75), (0.55, 0.5), (1, 0), (1.0, 0)]
    )
    def test_of_a_curve_made_by_hand(self, size, value):
        assert curve([0, 0.1, 1], [0, 1, 0]).at(size) == pytest.approx(value, abs=1e-12)

    def test_a_jump_is_no_slope(self):
        step = curve([0, 0.3, 0.3 + 1e-9, 1], [0, 0, 1, 1])
        assert (step.at(0.3), step.at(0.3 + 1e-9)) == (0, 1)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_the_default_dtype_has_no_say(self, dtype):
        sizes = [k / 1000 for k in range(1001)]
        zigzag = curve(sizes, [float(k % 2) for k in range(1001)])
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            found = [zigzag.at(size) for size in (0.0625, 0.501, 0.7, 0.7005, 0.907)]
        finally:
            torch.set_default_dtype(before)
        assert found == pytest.approx([0.5, 1, 0, 0.5, 1], abs=1e-9)

    @pytest.mark.parametrize("size", [-0.1, 0.1999999, 0.8000001, 1.5, float("nan"), float("inf")])
    def test_outside_of_what_was_measured_it_is_refused(self, size):
        with pytest.raises(ValueError, match=r"size .* is outside the measured range, 0\.2 to 0\.8"):
            curve([0.2, 0.8], [0, 1]).at(size)

    def test_one_point_is_known_there_and_nowhere_else(self):
        point = curve([0.5], [0.7])
        assert point.at(0.5) == 0.7
        for size in (0.4, 0.6):
            with pytest.raises(ValueError, match=r"0\.5 to 0\.5"):
                point.at(size)


@given(curves())
def test_asking_changes_nothing_and_gives_python_numbers(found):
    before: tuple[Tensor, Tensor] = (found.sizes.clone(), found.values.clone())
    answers = [found.area, *(found.at(size) for size in found.sizes.tolist())]
    assert {type(answer) for answer in answers} == {float}
    assert torch.equal(found.sizes, before[0])
    assert torch.equal(found.values, before[1])


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        curve([0, 1], [0, 1]).values = torch.zeros(2)  # type: ignore[misc]
