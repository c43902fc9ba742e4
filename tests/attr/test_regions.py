"""Regions: where the first cuts of the iterations are."""

import numpy as np
import pytest

from captum_ad.attr.regions import RegionTree, spread, units_of


@pytest.mark.parametrize("count", [5, 20, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_cuts_are_spread_evenly(count, seed):
    """No stretch of an axis is left out: of independent points the largest gap is 4 times the mean at 20."""
    points = np.array(spread(count, seed))
    assert points.shape == (count, 2)
    for places in np.sort(points, 0).T:
        assert np.diff([*places, places[0] + 1]).max() < 2 / count
    quarters = np.unique((points * 2).astype(int), axis=0, return_counts=True)[1]
    assert np.abs(quarters - count / 4).max() <= 2


def test_more_cuts_begin_with_the_same_and_a_seed_moves_them():
    assert spread(20, 3)[:7] == spread(7, 3)
    assert spread(7, 3) != spread(7, 4)


def test_the_whole_is_cut_where_it_is_told_and_its_parts_at_random():
    units = units_of((10, 20), None, None)
    trees = [RegionTree(units, 1, (seed,), (0.5, 0.0)) for seed in (0, 1)]
    for tree in trees:
        assert [tree.area(part) for part in tree.parts(())] == [5, 5 * 19, 5, 5 * 19]
        assert tree.positions((0,)).reshape(10, 20)[:5, 0].all()
    areas = [[tree.area(part) for part in tree.parts((1,))] for tree in trees]
    assert areas[0] != areas[1]
