"""Missingness: what is present, in patches, from the center and in superpixels."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_ad.metrics import present_masks
from captum_ad.segmentation import superpixels
from tests.metrics.missingness import PATTERNS, SHARES, photographs

FEW = settings(max_examples=25)


def whole_patches(mask: Tensor, patch: int) -> tuple[int, int]:
    """How many patches of a grid are present, of how many; none may be present in part."""
    present = total = 0
    for top in range(0, mask.shape[0], patch):
        for left in range(0, mask.shape[1], patch):
            values = mask[top : top + patch, left : left + patch]
            assert values.all() or not values.any()
            present, total = present + bool(values.any()), total + 1
    return present, total


sides = st.integers(1, 13)
shares_up_to_five = st.lists(st.floats(0, 1) | st.sampled_from([0, 0.25, 0.5, 1]), min_size=1, max_size=5)
seeds = st.integers(0, 2**32) | st.tuples(st.integers(0, 9), st.integers(0, 9))


class TestEveryPattern:
    @given(sides, sides, shares_up_to_five, st.sampled_from(PATTERNS[:2]), st.integers(1, 5), seeds)
    def test_shares_are_nested_whatever_their_order(self, height, width, shares, pattern, patch, seed):
        x = torch.rand(1, 1, height, width)
        masks = present_masks(x, shares, pattern, patch=patch, seed=seed)
        assert masks.dtype == torch.bool
        assert masks.shape == (len(shares), height, width)
        for share, mask in zip(shares, masks):
            assert all(bool((mask <= other).all()) for more, other in zip(shares, masks) if share <= more)
            alone = present_masks(x, [share], pattern, patch=patch, seed=seed)  # others have no say
            assert torch.equal(alone[0], mask)

    @FEW
    @given(shares_up_to_five, st.integers(1, 30), seeds)
    def test_shares_of_superpixels_are_nested(self, shares, segments, seed):
        masks = present_masks(photographs(1), shares, "superpixels", n_segments=segments, seed=seed)
        for share, mask in zip(shares, masks):
            assert all(bool((mask <= other).all()) for more, other in zip(shares, masks) if share <= more)

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize(("height", "width"), [(12, 16), (11, 7), (3, 20)])
    def test_nothing_and_everything(self, pattern, height, width):
        none, whole = present_masks(photographs(1, height=height, width=width), (0, 1), pattern, patch=4, n_segments=9)
        assert not none.any()
        assert whole.all()

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_the_seed_alone_decides(self, pattern):
        x = photographs(1)
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        first = present_masks(x, SHARES, pattern, patch=4, seed=7)
        states = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        assert torch.equal(present_masks(x, SHARES, pattern, patch=4, seed=7), first)
        torch.manual_seed(0)  # none of the global generators was drawn from either
        np.random.seed(0)
        random.seed(0)
        present_masks(x, SHARES, pattern, patch=4, seed=7)
        assert torch.equal(torch.random.get_rng_state(), states[0])
        assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]
        assert random.getstate() == states[2]

    @pytest.mark.parametrize("pattern", PATTERNS[:2])
    def test_what_is_in_the_image_has_no_say(self, pattern):
        dark, light = photographs(2)[:, None]
        one, other = (present_masks(x, SHARES, pattern, patch=4, seed=3) for x in (dark, light))
        assert torch.equal(one, other)


class TestPatches:
    @given(sides, sides, st.integers(1, 16), st.floats(0, 1), seeds)
    def test_whole_patches_as_near_to_the_share_as_can_be(self, height, width, patch, share, seed):
        mask = present_masks(torch.rand(1, 2, height, width), [share], patch=patch, seed=seed)[0]
        present, total = whole_patches(mask, patch)
        assert abs(present - share * total) <= 0.5 + 1e-9

    @given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.data())
    def test_the_share_is_exact_where_patches_divide_the_image(self, rows, columns, patch, data):
        count = data.draw(st.integers(0, rows * columns))
        x = torch.rand(1, 1, rows * patch, columns * patch)
        mask = present_masks(x, [count / (rows * columns)], patch=patch, seed=data.draw(seeds))[0]
        assert int(mask.sum()) == count * patch**2

    @pytest.mark.parametrize(("height", "width", "patch"), [(12, 12, 4), (10, 7, 4), (5, 16, 3)])
    @pytest.mark.parametrize("share", [0.25, 0.5])
    def test_every_position_is_as_likely_as_any_other(self, height, width, patch, share):
        x, n = torch.rand(1, 1, height, width), 400
        often = (
            torch.stack([present_masks(x, [share], patch=patch, seed=seed)[0] for seed in range(n)]).double().mean(0)
        )
        total = -(-height // patch) * -(-width // patch)
        likely = round(share * total) / total
        assert often.sub(likely).abs().max() < 4 * (likely * (1 - likely) / n) ** 0.5

    def test_every_choice_is_as_likely_as_any_other(self):
        # Two of four patches: six choices.
        x, n = torch.rand(1, 1, 2, 2), 600
        drawn = [tuple(present_masks(x, [0.5], patch=1, seed=seed).flatten().tolist()) for seed in range(n)]
        counts = [drawn.count(choice) for choice in set(drawn)]
        assert len(counts) == 6
        assert max(abs(count - n / 6) for count in counts) < 4 * (n * 5 / 36) ** 0.5

    def test_a_patch_that_does_not_divide_the_image_is_cut_off_at_its_end(self):
        masks = torch.cat([present_masks(torch.rand(1, 1, 5, 7), [1 / 6], patch=3, seed=seed) for seed in range(60)])
        # Rows of 3 and 2, columns of 3, 3 and 1.
        assert {int(mask.sum()) for mask in masks} == {9, 6, 3, 2}

    def test_the_patch_is_square_whatever_the_image(self):
        mask = present_masks(torch.rand(1, 1, 4, 12), [1 / 3], patch=4, seed=1)[0]
        assert mask.sum() == 16
        assert mask.any(0).sum() == mask.any(1).sum() == 4

    def test_by_default_a_patch_has_sixteen_pixels_a_side(self):
        mask = present_masks(torch.rand(1, 1, 64, 32), [0.5])[0]
        assert whole_patches(mask, 16) == (4, 8)
        assert not torch.equal(mask[::2], mask[1::2].flip(0))  # chosen at random, not by halves


class TestCenter:
    @given(sides, st.integers(1, 40), st.floats(0, 1))
    def test_a_rectangle_in_the_middle_of_the_images_aspect(self, height, width, share):
        mask = present_masks(torch.rand(1, 1, height, width), [share], "center")[0]
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)  # solid
        for sees, side in ((rows, height), (columns, width)):
            where = sees.nonzero().flatten().tolist()
            if mask.any():
                assert abs(len(where) - side * share**0.5) <= 0.5 + 1e-9
                assert where == list(range(where[0], where[-1] + 1))
                assert abs(where[0] - (side - 1 - where[-1])) <= 1
        if not mask.any():
            assert min(height, width) * share**0.5 <= 0.5

    @pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 12), (16, 4)])
    def test_a_quarter_is_half_of_each_side(self, height, width):
        mask = present_masks(torch.rand(1, 1, height, width), [0.25], "center")[0]
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        assert torch.equal(mask, expected)

    def test_no_chance(self):
        x = torch.rand(1, 1, 9, 9)
        assert torch.equal(*(present_masks(x, SHARES, "center", seed=seed) for seed in (0, 1)))


class TestSuperpixels:
    @FEW
    @given(st.floats(0.01, 1), st.integers(1, 40), seeds)
    def test_whole_ones_until_the_share_is_reached(self, share, segments, seed):
        x = photographs(1)
        mask = present_masks(x, [share], "superpixels", n_segments=segments, seed=seed)[0]
        labels = superpixels(x[0], n_segments=segments)[0, 0]
        sizes = []
        for label in labels.unique():
            present = mask[labels == label]
            assert present.all() or not present.any()
            sizes.append(int(present.sum()))
        wanted = share * mask.numel()
        assert sum(sizes) >= wanted - 1e-6
        assert sum(sizes) - max(sizes) < wanted  # without the last one it was not

    def test_more_segments_are_smaller(self):
        x = photographs(1, height=24, width=24)
        few, many = (present_masks(x, [0.01], "superpixels", n_segments=n, seed=0).sum() for n in (4, 60))
        assert many < few

    def test_they_are_random_too(self):
        x = photographs(1)
        masks = {
            present_masks(x, [0.5], "superpixels", n_segments=20, seed=seed).numpy().tobytes() for seed in range(9)
        }
        assert len(masks) > 5

    def test_missing_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "skimage", None)
        monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
        with pytest.raises(ImportError, match=r'pip install .*"\.\[superpixels\]"'):
            present_masks(photographs(1), [0.5], "superpixels")
