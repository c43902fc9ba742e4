"""Backgrounds of solid colors, and what backgrounds are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_ad.metrics import DrawnBackgrounds, SolidColors

ANY = nn.Identity()
SPATIAL = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def drawn(source, x=None, model=ANY, target=0, **options):
    """All backgrounds at once."""
    backgrounds = source.draw(model, torch.zeros(1, 3, 2, 2) if x is None else x, target, **options)
    return backgrounds.batch(0, backgrounds.n)


class TestSolidColors:
    @given(st.integers(1, 9), st.integers(0, 99), st.integers(1, 4), SPATIAL)
    def test_are_images_of_one_valid_color_each(self, n, seed, channels, spatial):
        x = torch.full((1, channels, *spatial), 0.5)
        backgrounds = SolidColors(n, seed).draw(ANY, x, 0)
        images = backgrounds.batch(0, n)
        assert (backgrounds.n, backgrounds.excluded) == (n, 0)
        assert images.shape == (n, channels, *spatial)
        colors = images.flatten(2)
        assert (colors == colors[:, :, :1]).all()
        assert ((colors >= 0) & (colors <= 1)).all()
        assert len(torch.unique(colors[:, :, 0], dim=0)) == n

    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
    def test_of_a_larger_number_begin_with_those_of_a_smaller(self, few, more, seed):
        first, longer = drawn(SolidColors(few, seed)), drawn(SolidColors(few + more, seed))
        assert torch.equal(longer[:few], first)

    @given(st.integers(0, 8), st.integers(0, 8))
    def test_are_made_batch_by_batch(self, start, length):
        backgrounds = SolidColors(9).draw(ANY, torch.zeros(1, 3, 2, 2), 0)
        stop = min(9, start + length)
        assert torch.equal(backgrounds.batch(start, stop), backgrounds.batch(0, 9)[start:stop])

    def test_of_one_seed_are_the_same_and_of_another_are_others(self):
        first, again, other = (drawn(SolidColors(5, seed)) for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert (first != other).all()

    def test_leave_the_global_generators_alone(self):
        torch.manual_seed(0)
        np.random.seed(0)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        drawn(SolidColors(5))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()

    def test_are_normalized_as_the_input_is(self):
        mean, std = (0.1, 0.2, 0.3), [0.5, 2.0, 1.0]
        plain = drawn(SolidColors(6, 1), x := torch.full((1, 3, 2, 2), 0.5))
        columns = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))
        mean_column, std_column = columns
        normalized = drawn(SolidColors(6, 1, mean, std), (x - mean_column) / std_column)
        torch.testing.assert_close(normalized, (plain - mean_column) / std_column)
        one = drawn(SolidColors(6, 1, 0.1, 0.5), (x - 0.1) / 0.5)
        torch.testing.assert_close(one, (plain - 0.1) / 0.5)

    def test_fill_the_range_of_pixels_that_is_given(self):
        """Uniformly: the mean of 4000 numbers is 0.015 of the range from its middle once in 1000 draws."""
        values = drawn(SolidColors(4000, low=-10.0, high=30.0), torch.zeros(1, 1, 1))
        assert -10 <= values.min() < -9.5
        assert 29.5 < values.max() <= 30
        assert values.mean() == pytest.approx(10, abs=0.6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_have_the_type_of_the_input(self, dtype):
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        extremes = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
        x = (extremes - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(std).reshape(1, 3, 1, 1)
        images = drawn(SolidColors(4, 0, mean, std), x.to(dtype))  # black and white are valid however they are rounded
        assert images.dtype == dtype
        torch.testing.assert_close(images.float(), drawn(SolidColors(4, 0, mean, std), x), rtol=0.01, atol=0.01)

    @pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, torch.nan, torch.inf])
    def test_refuse_an_input_that_is_normalized_otherwise(self, value):
        x = torch.full((1, 3, 2, 2), 0.5)
        x[0, 1, 1, 0] = value
        with pytest.raises(ValueError, match="outside of 0 to 1: give SolidColors the mean and std"):
            drawn(SolidColors(), x)

    def test_say_what_range_an_input_has(self):
        with pytest.raises(ValueError, match=r"pixels range from -1 to 3"):
            drawn(SolidColors(mean=1.0, std=2.0), torch.tensor([-1.0, 1.0]).reshape(1, 1, 2))

    @pytest.mark.parametrize("n", [0, -1, 2.0, True, "3", None])
    def test_refuse_a_number_that_is_none(self, n):
        with pytest.raises(ValueError, match=f"n must be a positive integer, got {n!r}"):
            SolidColors(n)

    @pytest.mark.parametrize(
        ("given_", "message"),
        [
            ({"low": 1.0}, "low must be less than high, got 1.0 and 1.0"),
            ({"low": float("nan")}, "low must be less than high"),
            ({"mean": (0.5, 0.5)}, "each of the 3 channels, got 2"),
            ({"std": [1.0] * 4}, "each of the 3 channels, got 4"),
            ({"std": 0.0}, "std"),
            ({"std": -1.0, "mean": 0.5}, "std"),
            ({"std": (0.2, 0.0, 0.2)}, "std"),
        ],
    )
    def test_refuse_numbers_out_of_place(self, given_, message):
        with pytest.raises(ValueError, match=message):
            drawn(SolidColors(**given_))

    @pytest.mark.filterwarnings("error")
    def test_take_an_input_with_a_gradient(self):
        assert not drawn(SolidColors(2), torch.zeros(1, 3, 2, 2, requires_grad=True)).requires_grad

    def test_refuse_a_batch(self):
        with pytest.raises(ValueError, match="explain one at a time"):
            drawn(SolidColors(), torch.zeros(2, 3, 2, 2))


def test_backgrounds_are_what_a_function_makes_of_two_indices():
    backgrounds = DrawnBackgrounds(lambda start, stop: torch.arange(start, stop), 3)
    assert (backgrounds.batch(1, 3).tolist(), backgrounds.n, backgrounds.excluded) == ([1, 2], 3, 0)


def test_pixels_that_fill_little_of_the_range_are_mentioned():
    with pytest.warns(UserWarning, match="0 to 255"):
        SolidColors(high=255).draw(torch.nn.Identity(), torch.rand(1, 3, 4, 4), 0)
