"""ρ over the size of explanations, and what ρ costs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_ad.metrics import (
    DrawnBackgrounds,
    SolidColors,
    rho_curve,
    rho_robustness,
)
from tests.metrics import reference
from tests.metrics.models import (
    CORNERS,
    answer,
    batches,
    noise,
    one_pixel,
    small_net,
    two_patches,
)
from tests.metrics.planted import fixed, problems, wide


class TestCurve:
    @given(problems(), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(1, 9))
    def test_each_point_is_the_best_positions_planted(self, problem, sizes, batch_size):
        model, x, _, backgrounds = problem
        target, attribution = answer(model, x), noise(7, tuple(x.shape))
        curve = rho_curve(model, x, attribution, target, fixed(*backgrounds), sizes, batch_size=batch_size)
        positions = reference.count(x)
        steps = reference.ranking(attribution, positions)
        assert curve.sizes.tolist() == sorted(set(sizes))
        assert curve.sizes.dtype == curve.values.dtype == curve.confidences.dtype == torch.float64
        for size, value, mean in zip(curve.sizes.tolist(), curve.values.tolist(), curve.confidences.tolist()):
            present = reference.first(steps, round(size * positions))
            rho, confidence, _ = reference.rho(model, x, present, backgrounds, target)
            assert value == pytest.approx(rho)
            assert mean == pytest.approx(confidence)
        assert (curve.n, curve.excluded) == (len(backgrounds), 0)

    def test_by_hand(self):
        """Of 16 positions the seventh decides: from 0.44 of them on ρ is 1, before that what the backgrounds give."""
        order = torch.arange(16.0, 0, -1)
        order[6], order[0] = 10.5, 1.0  # place 6 is the sixth best, place 0 among the last
        model, x = one_pixel((0, 1, 2)), torch.ones(1, 1, 4, 4)
        backgrounds = fixed(*(torch.full((1, 4, 4), value) for value in (0.0, 0.1, 0.2, 1.0)))
        curve = rho_curve(model, x, order.reshape(4, 4), 1, backgrounds, (1.0, 0.0, 0.25, 0.5, 0.25, 5 / 16, 6 / 16))
        assert curve.sizes.tolist() == [0, 0.25, 5 / 16, 6 / 16, 0.5, 1]
        assert curve.values.tolist() == [0.25, 0.25, 0.25, 1, 1, 1]
        assert curve.at(0.25) == 0.25
        assert curve.at(11 / 32) == pytest.approx(0.625)  # halfway
        assert curve.at(0.4) == pytest.approx(1)
        assert curve.at(1) == 1
        assert curve.area == pytest.approx(5 / 16 * 0.25 + 1 / 16 * 0.625 + 10 / 16)

    def test_the_ends_are_nothing_and_everything(self):
        model, x = small_net(2), noise(3, (1, 2, 6, 6))
        target, backgrounds = answer(model, x), wide(20)
        curve = rho_curve(model, x, noise(4, (6, 6)), target, backgrounds)
        alone = rho_robustness(model, x, torch.zeros(6, 6, dtype=torch.bool), target, backgrounds)
        assert (curve.sizes[0], curve.sizes[-1]) == (0, 1)
        assert (curve.values[0], curve.values[-1]) == (alone.rho, 1)
        assert 0 < alone.rho < 1

    def test_one_size_has_a_value_and_no_area(self):
        model, x = small_net(2), noise(3, (1, 2, 6, 6))
        curve = rho_curve(model, x, noise(4, (6, 6)), answer(model, x), wide(5), [0.3])
        assert curve.at(0.3) == curve.values[0]
        with pytest.raises(ValueError, match="needs at least two sizes"):
            _ = curve.area
        with pytest.raises(ValueError, match=r"size 0.31 is outside the measured range, 0.3 to 0.3"):
            curve.at(0.31)

    @pytest.mark.parametrize("size", [-0.1, 1.1, math.nan, True, "0.5", None])
    def test_sizes_that_are_no_shares_are_refused(self, size):
        with pytest.raises(ValueError, match="0 to 1, got"):
            rho_curve(two_patches(), torch.ones(1, 1, 4, 4), noise(0, (4, 4)), 1, SolidColors(2), [size])

    def test_no_size_is_refused(self):
        with pytest.raises(ValueError, match="empty sequence"):
            rho_curve(two_patches(), torch.ones(1, 1, 4, 4), noise(0, (4, 4)), 1, SolidColors(2), [])

    def test_what_cannot_be_ranked_is_refused(self):
        with pytest.raises(ValueError, match=r"\(4, 5\)"):
            rho_curve(two_patches(), torch.ones(1, 1, 4, 4), noise(0, (4, 5)), 1, SolidColors(2))


class TestCost:
    @pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
    def test_every_background_once_in_full_batches(self, batch_size):
        model, x = two_patches(), torch.ones(1, 1, 4, 4)
        with batches(model) as sizes:
            rho_robustness(model, x, CORNERS == 0, 1, SolidColors(25), batch_size=batch_size)
        full, rest = divmod(25, batch_size)
        assert sizes == [batch_size] * full + [rest] * (rest > 0)

    @pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
    def test_a_curve_plants_each_size_on_each_background_in_full_batches(self, batch_size):
        """16 positions: 0.5 and 0.51 are the same eight, and run once."""
        model, x = two_patches(), torch.ones(1, 1, 4, 4)
        options = {"sizes": (0.0, 0.25, 0.5, 0.51), "batch_size": batch_size}
        with batches(model) as sizes:
            curve = rho_curve(model, x, noise(0, (4, 4)), 1, SolidColors(25), **options)
        full, rest = divmod(75, batch_size)
        assert sizes == [batch_size] * full + [rest] * (rest > 0)
        assert len(curve.values) == 4
        assert curve.values[2] == curve.values[3]

    def test_backgrounds_are_asked_for_a_batch_at_a_time(self):
        asked = []

        def batch(start, stop):
            asked.append(stop - start)
            return torch.zeros(stop - start, 1, 4, 4)

        x = torch.ones(1, 1, 4, 4)
        rho_robustness(two_patches(), x, CORNERS == 0, 1, DrawnBackgrounds(batch, 11), batch_size=4)
        rho_curve(two_patches(), x, noise(0, (4, 4)), 1, DrawnBackgrounds(batch, 11), (0, 0.5, 1), batch_size=4)
        assert max(asked) <= 4

    @settings(max_examples=20)
    @given(problems(), st.integers(0, 9))
    def test_the_batch_size_is_no_matter(self, problem, seed):
        model, x, mask, _ = problem
        target, attribution = answer(model, x), noise(seed, tuple(x.shape))
        found = [rho_robustness(model, x, mask, target, wide(9, seed), batch_size=size) for size in (1, 4, 1000)]
        curves = [rho_curve(model, x, attribution, target, wide(9, seed), batch_size=size) for size in (1, 4, 1000)]
        for one, curve in zip(found[1:], curves[1:]):
            assert torch.equal(one.class_kept, found[0].class_kept)
            assert one.confidence == pytest.approx(found[0].confidence)
            assert torch.equal(curve.values, curves[0].values)
            torch.testing.assert_close(curve.confidences, curves[0].confidences)

    def test_a_seed_gives_the_same_again_and_another_seed_something_else(self):
        model, x = small_net(2), noise(3, (1, 2, 6, 6))
        mask, target = noise(4, (6, 6)) > 0, answer(model, x)
        first, again, other = (rho_robustness(model, x, mask, target, wide(30, seed)) for seed in (0, 0, 1))
        assert torch.equal(first.class_kept, again.class_kept)
        assert first.confidence == again.confidence != other.confidence

    def test_drawn_once_for_several_explanations(self):
        model, x = small_net(2), noise(3, (1, 2, 6, 6))
        target, backgrounds = answer(model, x), wide(10)
        drawn = backgrounds.draw(model, x, target)
        for seed in range(3):
            mask = noise(seed, (6, 6)) > 0
            asked, ready = (rho_robustness(model, x, mask, target, given) for given in (backgrounds, drawn))
            assert torch.equal(asked.class_kept, ready.class_kept)
