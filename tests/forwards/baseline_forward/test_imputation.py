"""Linear imputation: what is missing is the weighted mean of its neighbors, whatever stood there."""

import itertools
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad import BaselineForward
from captum_ad.baselines import IMPUTATIONS, baseline, linear
from tests.forwards.baseline_forward.models import SEEDS, Seen, masks, randn

SHAPES = st.sampled_from([(1, 1, 8, 8), (2, 3, 6, 9), (3, 2, 1, 7), (2, 1, 7, 1), (1, 2, 2, 2), (1, 1, 1, 1)])


def by_hand(channel, seen):
    """One channel, (H, W), by the definition: a dense system with a row for every pixel."""
    height, width = channel.shape
    matrix, right = torch.eye(height * width, dtype=torch.float64), torch.zeros(height * width, dtype=torch.float64)
    for i, j in itertools.product(range(height), range(width)):
        if seen[i, j]:
            right[i * width + j] = channel[i, j]
            continue
        weights = {
            (i + a) * width + j + b: 1 / 12 if a and b else 1 / 6
            for a, b in itertools.product((-1, 0, 1), repeat=2)
            if (a or b) and 0 <= i + a < height and 0 <= j + b < width
        }
        for place, weight in weights.items():
            matrix[i * width + j, place] = -weight / sum(weights.values())
    return torch.linalg.solve(matrix, right).reshape(height, width)


@given(SEEDS, st.booleans(), SHAPES)
def test_it_is_the_solution_of_the_linear_system(seed, per_channel, shape):
    x, mask = randn(seed, *shape).double(), masks(seed + 1, shape, per_channel)
    painted = linear(x, mask)
    for i, c in itertools.product(range(shape[0]), range(shape[1])):
        seen = mask.expand(shape)[i, c]
        expected = by_hand(x[i, c], seen) if seen.any() else torch.zeros(shape[2:], dtype=torch.float64)
        torch.testing.assert_close(painted[i, c], expected)


@given(SEEDS, st.booleans(), SHAPES, st.sampled_from([0.0, 0.01]))
def test_what_is_visible_stays_bit_for_bit(seed, per_channel, shape, noise):
    x, mask = randn(seed, *shape), masks(seed + 1, shape, per_channel)
    before = x.clone()
    painted = linear(x, mask, noise=noise)
    assert painted.shape == shape
    assert torch.equal(painted[mask.expand(shape)], x[mask.expand(shape)])
    assert painted.isfinite().all()
    assert torch.equal(x, before)


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 1e30, torch.nan, torch.inf, -torch.inf]))
def test_it_does_not_see_what_is_hidden(seed, per_channel, junk):
    x = randn(seed, 2, 3, 7, 8)
    mask = masks(seed + 1, x.shape, per_channel)
    assert torch.equal(linear(x, mask), linear(torch.where(mask, x, junk), mask))


@given(SEEDS, st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_a_ramp_goes_on_where_its_edge_is_visible(seed, start, down, right):
    """Away from the image's border, where a neighbor is lacking, ramps are what the equations keep."""
    rows, columns = torch.meshgrid(torch.arange(7.0).double(), torch.arange(9.0).double(), indexing="ij")
    x = (start + down * rows + right * columns)[None, None]
    mask = masks(seed, x.shape, False)
    mask[..., 0, :] = mask[..., -1, :] = mask[..., 0] = mask[..., -1] = True
    torch.testing.assert_close(linear(x, mask), x)


@given(SEEDS)
def test_values_lie_between_those_that_are_seen(seed):
    x = randn(seed, 1, 1, 8, 8)
    mask = masks(seed + 1, x.shape, False)
    seen, painted = x[mask], linear(x, mask)
    assert painted.min() >= seen.min() - 1e-6
    assert painted.max() <= seen.max() + 1e-6


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 0.5]))
def test_samples_are_imputed_one_by_one(seed, per_channel, noise):
    """Whether they share their mask or not."""
    x = randn(seed, 4, 3, 7, 8)
    mask = masks(seed + 1, x.shape, per_channel)
    mask[2] = mask[0]
    painted = linear(x, mask, noise=noise)
    for i in range(4):
        torch.testing.assert_close(painted[i : i + 1], linear(x[i : i + 1], mask[i : i + 1], noise=noise))


@given(SEEDS)
def test_channels_are_imputed_one_by_one(seed):
    x = randn(seed, 1, 3, 7, 8)
    mask = masks(seed + 1, x.shape, True)
    alone = [linear(x[:, c : c + 1], mask[:, c : c + 1]) for c in range(3)]
    torch.testing.assert_close(linear(x, mask), torch.cat(alone, 1))


def test_noise_is_gaussian_seeded_and_where_pixels_are_missing():
    x, mask = randn(0, 1, 3, 40, 40), randn(1, 1, 1, 40, 40) > 0
    smooth, noisy = linear(x, mask), linear(x, mask, noise=0.1, seed=3)
    difference = (noisy - smooth)[~mask.expand_as(x)]
    assert abs(float(difference.mean())) < 0.01
    assert float(difference.std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(noisy, linear(x, mask, noise=0.1, seed=3))
    assert not torch.equal(noisy, linear(x, mask, noise=0.1, seed=4))
    before = torch.get_rng_state()
    linear(x, mask, noise=0.1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    x, mask = (randn(0, 1, 2, 8, 8).double() / 3).to(dtype), randn(1, 1, 1, 8, 8) > 0
    painted = linear(x, mask)
    assert painted.dtype == dtype
    assert torch.equal(painted[mask.expand_as(x)], x[mask.expand_as(x)])
    torch.testing.assert_close(painted.float(), linear(x.float(), mask), rtol=0.01, atol=0.01)


def test_a_batch_of_equal_masks_is_solved_once(monkeypatch):
    import scipy.sparse.linalg

    solved, solve = [], scipy.sparse.linalg.splu
    monkeypatch.setattr(scipy.sparse.linalg, "splu", lambda matrix, **how: solved.append(1) or solve(matrix, **how))
    x, mask = randn(0, 5, 3, 8, 8), masks(1, (1, 1, 8, 8), False)
    linear(x, mask.expand(5, 1, 8, 8))
    assert len(solved) == 1
    linear(x, masks(1, x.shape, True))
    assert len(solved) == 16


def test_half_of_a_large_image_is_quick():
    x, mask = randn(0, 1, 3, 224, 224), randn(1, 1, 1, 14, 14) > 0
    mask = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        linear(x, mask)
        times.append(time.perf_counter() - start)
    assert min(times) < 2  # about .1 s on an idle CPU


def test_it_is_a_baseline_by_name(x):
    mask = randn(4, 2, 8, 8) > 0
    assert torch.equal(BaselineForward(Seen(), "linear")(x, mask=mask), linear(x, mask[:, None]))
    noisy = BaselineForward(Seen(), lambda x, mask: linear(x, mask, noise=0.01))
    assert torch.equal(noisy(x, mask=mask), linear(x, mask[:, None], noise=0.01))


@pytest.mark.parametrize("name", IMPUTATIONS)
def test_without_a_mask_there_is_none(x, name):
    with pytest.raises(ValueError, match=rf"depends on the mask.*BaselineForward\(model, '{name}'\)"):
        baseline(name, x)


@pytest.mark.parametrize("bad", [torch.zeros(1, 3, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8).long()])
def test_only_images_are_imputed(bad):
    with pytest.raises(ValueError, match=r"linear: expected .*\(N, C, H, W\), got"):
        linear(bad, torch.ones(bad.shape, dtype=torch.bool))


@pytest.mark.parametrize("function", IMPUTATIONS.values())
def test_only_boolean_masks_that_fit_are_taken(x, function):
    for mask in (torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8).long(), np.ones((2, 1, 8, 8), bool), None):
        with pytest.raises(TypeError, match="expected booleans, True = keep"):
            function(x, mask)
    for shape in ((8, 8), (2, 8, 8), (3, 1, 8, 8), (2, 1, 8, 9)):
        with pytest.raises(ValueError, match=r"expected a mask \(N, 1 or C, H, W\) for images"):
            function(x, torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), True, "0.1"])
def test_noise_that_is_no_deviation_is_refused(x, noise):
    with pytest.raises(ValueError, match="noise must be a standard deviation"):
        linear(x, x > 0, noise=noise)


def test_without_scipy_the_line_that_installs_it_is_shown(x, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r'scipy: pip install .*"\.\[metrics\]"'):
        linear(x, randn(4, 2, 1, 8, 8) > 0)
