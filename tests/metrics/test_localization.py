"""Pointing games: properties of any attribution, values by hand, and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad.metrics import box_mask, cell_masks, energy_pointing_game, grid_pointing_game, pointing_game
from tests.metrics.models import noise

SEEDS = st.integers(0, 999)
GRIDS = st.sampled_from([(1, 1), (1, 2), (2, 2), (3, 2), (2, 4)])
HEIGHT, WIDTH = 12, 16


def some_mask(seed, share=0.3):
    mask = noise(seed, (HEIGHT, WIDTH)) < torch.special.ndtri(torch.tensor(share)).item()
    mask[3, 4] = True
    return mask


class TestProperties:
    @given(SEEDS, st.floats(1e-6, 1e6))
    def test_a_positive_factor_changes_nothing(self, seed, factor):
        attribution, mask = noise(seed, (2, HEIGHT, WIDTH)), some_mask(seed + 1)
        assert energy_pointing_game(factor * attribution, mask) == pytest.approx(
            energy_pointing_game(attribution, mask)
        )
        assert grid_pointing_game(factor * attribution, 3) == pytest.approx(grid_pointing_game(attribution, 3))
        assert pointing_game(factor * attribution, mask) == pointing_game(attribution, mask)

    @given(SEEDS)
    def test_on_the_object_is_best_and_off_it_worst(self, seed):
        mask = some_mask(seed)
        on, off = (torch.where(where, noise(seed + 1, mask.shape).abs() + 0.1, 0) for where in (mask, ~mask))
        assert energy_pointing_game(on, mask) == 1
        assert energy_pointing_game(off, mask) == 0
        assert pointing_game(on, mask)
        assert not pointing_game(off, mask)

    @given(SEEDS, st.floats(1e-3, 1e3))
    def test_a_constant_gets_the_share_of_the_area(self, seed, value):
        mask = some_mask(seed)
        found = energy_pointing_game(torch.full((3, HEIGHT, WIDTH), value), mask)
        assert found == pytest.approx(float(mask.double().mean()))
        assert pointing_game(torch.full((HEIGHT, WIDTH), value), mask)  # ties are enough

    @given(SEEDS)
    def test_negative_values_do_not_count(self, seed):
        attribution, mask = noise(seed, (HEIGHT, WIDTH)), some_mask(seed + 1)
        louder = torch.where(attribution < 0, 100 * attribution, attribution)
        assert energy_pointing_game(louder, mask) == energy_pointing_game(attribution, mask)

    @given(SEEDS)
    def test_object_and_background_share_what_there_is(self, seed):
        attribution, mask = noise(seed, (HEIGHT, WIDTH)), some_mask(seed + 1)
        assert energy_pointing_game(attribution, mask) + energy_pointing_game(attribution, ~mask) == pytest.approx(1)

    @given(SEEDS, GRIDS)
    def test_cells_share_what_there_is(self, seed, grid):
        attribution = noise(seed, (HEIGHT, WIDTH))
        shares = [grid_pointing_game(attribution, cell, grid) for cell in range(grid[0] * grid[1])]
        assert sum(shares) == pytest.approx(1)

    @given(SEEDS, st.permutations(range(4)))
    def test_permuted_cells_are_scored_the_same(self, seed, order):
        tiles = noise(seed, (4, HEIGHT // 2, WIDTH // 2))

        def laid(tiles):
            return torch.cat([torch.cat(list(tiles[:2]), 1), torch.cat(list(tiles[2:]), 1)])

        for cell in range(4):
            moved = grid_pointing_game(laid(tiles[list(order)]), order.index(cell))
            assert moved == pytest.approx(grid_pointing_game(laid(tiles), cell))

    @given(SEEDS)
    def test_channels_are_added_up(self, seed):
        attribution, mask = noise(seed, (3, HEIGHT, WIDTH)), some_mask(seed + 1)
        for one in (attribution.sum(0), attribution[None], attribution.sum(0, keepdim=True)[None]):
            assert energy_pointing_game(one, mask) == pytest.approx(energy_pointing_game(attribution, mask))
            assert pointing_game(one, mask) == pointing_game(attribution, mask)

    @given(SEEDS, st.floats(0, 6))
    def test_tolerance_is_the_distance_to_the_nearest_pixel_of_the_object(self, seed, tolerance):
        attribution, mask = noise(seed, (HEIGHT, WIDTH)), some_mask(seed + 1, 0.05)
        row, column = divmod(int(attribution.argmax()), WIDTH)
        nearest = min(math.hypot(row - i, column - j) for i, j in mask.nonzero().tolist())
        assert pointing_game(attribution, mask, tolerance=tolerance) == (nearest <= tolerance)

    @given(st.integers(0, 11), st.integers(0, 15), st.integers(1, 12), st.integers(1, 16))
    def test_a_box_is_its_mask(self, top, left, height, width):
        box = (left, top, min(WIDTH, left + width), min(HEIGHT, top + height))
        attribution, mask = noise(0, (HEIGHT, WIDTH)), box_mask(box, HEIGHT, WIDTH)
        assert int(mask.sum()) == (box[2] - box[0]) * (box[3] - box[1])
        assert mask[box[1], box[0]]
        assert mask[box[3] - 1, box[2] - 1]
        assert energy_pointing_game(attribution, box) == energy_pointing_game(attribution, mask)
        assert energy_pointing_game(attribution, torch.tensor(box)) == energy_pointing_game(attribution, mask)

    @given(st.integers(3, 20), st.integers(4, 20), GRIDS)
    def test_cells_cover_the_image_and_are_about_equal(self, height, width, grid):
        masks = cell_masks(height, width, grid)
        assert torch.equal(masks.sum(0), torch.ones(height, width, dtype=torch.int64))
        for axis, parts in ((2, height / grid[0]), (1, width / grid[1])):
            sides = masks.any(axis).sum(1)
            assert ((sides >= math.floor(parts)) & (sides <= math.ceil(parts))).all()


class TestByHand:
    ATTRIBUTION = torch.tensor([[4.0, 1.0, 0.0, -7.0], [1.0, 0.0, 2.0, 0.0]])

    def test_shares(self):
        """The values that Quantus' AttributionLocalisation and Focus have, up to the 1e-9 in their denominators."""
        assert energy_pointing_game(self.ATTRIBUTION, (0, 0, 2, 1)) == 5 / 8
        assert energy_pointing_game(self.ATTRIBUTION, (2, 0, 4, 2)) == 2 / 8
        assert [grid_pointing_game(self.ATTRIBUTION, cell) for cell in range(4)] == [5 / 8, 0, 1 / 8, 2 / 8]

    @pytest.mark.parametrize("attribution", [torch.zeros(2, 4), -torch.ones(2, 4)])
    def test_nothing_positive_is_zero(self, attribution):
        assert energy_pointing_game(attribution, (0, 0, 4, 2)) == 0
        assert grid_pointing_game(attribution, 0) == 0

    def test_one_of_several_highest_is_enough(self):
        """As in Quantus' PointingGame."""
        attribution = torch.tensor([[1.0, 0.0, 1.0]])
        assert pointing_game(attribution, (0, 0, 1, 1))
        assert pointing_game(attribution, (2, 0, 3, 1))
        assert not pointing_game(attribution, (1, 0, 2, 1))

    def test_tolerance_reaches_around_corners_in_circles(self):
        attribution = torch.zeros(9, 9)
        attribution[5, 5] = 1
        assert pointing_game(attribution, (0, 0, 3, 2), tolerance=5)  # 3 columns and 4 rows away
        assert not pointing_game(attribution, (0, 0, 3, 2), tolerance=4.99)

    @pytest.mark.parametrize("scale", [1e308, 5e-324])
    def test_sums_neither_overflow_nor_vanish(self, scale):
        attribution = torch.full((4, 4), scale, dtype=torch.float64)
        assert energy_pointing_game(attribution, (0, 0, 2, 2)) == 0.25

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
    def test_other_precisions(self, dtype):
        assert energy_pointing_game(self.ATTRIBUTION.to(dtype), (0, 0, 2, 1)) == 5 / 8


GAMES = [
    lambda attribution, inside: pointing_game(attribution, inside),
    lambda attribution, inside: energy_pointing_game(attribution, inside),
]


class TestRefused:
    @pytest.mark.parametrize("game", GAMES)
    @pytest.mark.parametrize(
        "box", [(0, 0, 9, 4), (-1, 0, 3, 3), (0, 0, 3, 5), (2, 1, 2, 3), (3, 1, 2, 3), (0, 3, 4, 3)]
    )
    def test_boxes_that_are_empty_or_not_within_the_image(self, game, box):
        with pytest.raises(ValueError, match=r"left < right within 0 to 8 and top < bottom within 0 to 4"):
            game(torch.ones(4, 8), box)

    @pytest.mark.parametrize("game", GAMES)
    @pytest.mark.parametrize("box", [(0, 0, 3), (0, 0, 1.5, 3), "abcd", 3, None])
    def test_what_is_no_box(self, game, box):
        with pytest.raises(ValueError, match="four integers"):
            game(torch.ones(4, 8), box)

    @pytest.mark.parametrize("game", GAMES)
    def test_masks_that_do_not_fit(self, game):
        with pytest.raises(ValueError, match=r"mask has shape \(8, 4\), expected the image's, \(4, 8\)"):
            game(torch.ones(4, 8), torch.ones(8, 4, dtype=torch.bool))
        with pytest.raises(TypeError, match=r"float32, expected booleans"):
            game(torch.ones(4, 8), torch.ones(4, 8))
        with pytest.raises(ValueError, match="mask is empty"):
            game(torch.ones(4, 8), torch.zeros(4, 8, dtype=torch.bool))

    @pytest.mark.parametrize("game", [*GAMES, lambda attribution, inside: grid_pointing_game(attribution, 0)])
    def test_attributions_that_do_not_fit(self, game):
        for shape in ((8,), (2, 3, 4, 8), (1, 1, 3, 4, 8), (3, 0, 8)):
            with pytest.raises(ValueError, match=r"expected \(H, W\), \(C, H, W\) or \(1, C, H, W\)"):
                game(torch.ones(shape), (0, 0, 1, 1))
        for value in (math.nan, math.inf):
            attribution = torch.ones(3, 4, 8)
            attribution[1, 0, 0] = value
            with pytest.raises(ValueError, match="NaN or Inf"):
                game(attribution, (0, 0, 1, 1))
        with pytest.raises(TypeError, match="must be a Tensor, got list"):
            game([[1.0]], (0, 0, 1, 1))

    @pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf, True, "3"])
    def test_tolerances(self, tolerance):
        with pytest.raises(ValueError, match="tolerance must be a number of pixels"):
            pointing_game(torch.ones(4, 8), (0, 0, 1, 1), tolerance=tolerance)

    @pytest.mark.parametrize("cell", [-1, 4])
    def test_cells(self, cell):
        with pytest.raises(ValueError, match=rf"cell {cell} is out of range: a 2 × 2 grid has cells 0 to 3"):
            grid_pointing_game(torch.ones(4, 8), cell)
        with pytest.raises(TypeError, match="integer"):
            grid_pointing_game(torch.ones(4, 8), 0.5)

    def test_grids(self):
        for grid in ((5, 2), (2, 9)):
            with pytest.raises(ValueError, match="does not fit an image of 4 × 8"):
                grid_pointing_game(torch.ones(4, 8), 0, grid)
        with pytest.raises(ValueError, match="at least one row and one column"):
            grid_pointing_game(torch.ones(4, 8), 0, (0, 2))
        for grid in ("22", 4, (2,), (2, 2.0), (True, 2)):
            with pytest.raises(TypeError, match=r"a grid"):
                grid_pointing_game(torch.ones(4, 8), 0, grid)
