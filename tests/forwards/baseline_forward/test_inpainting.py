"""Inpainting: what is visible stays, what is hidden is not seen, and the rest is filled from around it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad.baselines import IMPUTATIONS, baseline, inpaint, linear
from tests.forwards.baseline_forward.models import SEEDS, masks, randn


@given(SEEDS, st.booleans(), st.sampled_from([(1, 1, 8, 8), (2, 3, 6, 9), (3, 2, 1, 7), (1, 1, 1, 1)]))
def test_inpainting_keeps_what_is_visible_bit_for_bit_and_fills_the_rest(seed, per_channel, shape):
    x, mask = randn(seed, *shape), masks(seed + 1, shape, per_channel)
    before = x.clone()
    painted = inpaint(x, mask)
    assert painted.shape == shape
    seen = mask.expand(shape)
    assert torch.equal(painted[seen], x[seen])
    assert painted.isfinite().all()
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["inpaint", "linear"])
def test_the_order_of_an_image_in_memory_does_not_matter(name):
    x = randn(3, 2, 8, 9, 3).permute(0, 3, 1, 2)  # channels last, as torchvision's transforms make them
    mask = masks(4, (2, 1, 8, 9), False)
    painted = IMPUTATIONS[name](x, mask)
    assert torch.equal(painted, IMPUTATIONS[name](x.contiguous(), mask))
    assert bool((painted != 0).all())


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 1e30, torch.nan, torch.inf, -torch.inf]))
def test_inpainting_does_not_see_what_is_hidden(seed, per_channel, junk):
    x = randn(seed, 2, 3, 7, 8)
    mask = masks(seed + 1, x.shape, per_channel)
    assert torch.equal(inpaint(x, mask), inpaint(torch.where(mask, x, junk), mask))


@given(SEEDS, st.floats(-100, 100, width=32))
def test_inpainting_continues_a_flat_area(seed, value):
    x = torch.full((1, 2, 8, 8), value)
    mask = masks(seed, x.shape, True)
    mask[:, :, 3, 3] = True
    torch.testing.assert_close(inpaint(x, mask), x, rtol=1e-4, atol=1e-4)


@given(SEEDS)
def test_inpainted_values_lie_between_those_that_are_seen(seed):
    x = randn(seed, 1, 1, 8, 8)
    mask = masks(seed + 1, x.shape, False)
    seen, painted = x[mask], inpaint(x, mask)
    assert painted.min() >= seen.min() - 1e-3
    assert painted.max() <= seen.max() + 1e-3


@given(SEEDS, st.sampled_from([2, 3]))
def test_one_row_or_column_is_inpainted_as_if_it_came_twice(seed, dim):
    """OpenCV reads memory that is not the image's for the former: anything came out, once in a while NaN."""
    shape = [1, 2, 7, 7]
    shape[dim] = 1
    x, mask = randn(seed, *shape), masks(seed + 1, shape, True)
    twice = inpaint(x.repeat_interleave(2, dim), mask.repeat_interleave(2, dim))
    assert torch.equal(inpaint(x, mask), twice.narrow(dim, 0, 1))


@given(SEEDS)
def test_samples_and_channels_are_inpainted_one_by_one(seed):
    x = randn(seed, 2, 3, 7, 8)
    mask = masks(seed + 1, x.shape, True)
    painted = inpaint(x, mask)
    for i in range(2):
        for c in range(3):
            alone = inpaint(x[i : i + 1, c : c + 1], mask[i : i + 1, c : c + 1])
            assert torch.equal(painted[i, c], alone[0, 0])


@pytest.mark.parametrize("junk", [0.0, 5.0, torch.nan])
@pytest.mark.parametrize("impute", [inpaint, linear])
def test_a_channel_of_which_nothing_is_seen_is_zero(impute, junk):
    x, mask = randn(0, 1, 2, 6, 6), torch.ones(1, 2, 6, 6, dtype=torch.bool)
    mask[:, 1] = False
    x[:, 1] = junk
    painted = impute(x, mask)
    assert torch.equal(painted[:, 0], x[:, 0])
    assert torch.equal(painted[:, 1], torch.zeros(1, 6, 6))
    assert torch.equal(impute(x, torch.zeros(1, 1, 6, 6, dtype=torch.bool)), torch.zeros(1, 2, 6, 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inpainting_in_other_precisions(dtype):
    x, mask = (randn(0, 1, 2, 8, 8).double() / 3).to(dtype), randn(1, 1, 1, 8, 8) > 0
    painted = inpaint(x, mask)
    assert painted.dtype == dtype
    assert torch.equal(painted[mask.expand_as(x)], x[mask.expand_as(x)])
    torch.testing.assert_close(painted.float(), inpaint(x.float(), mask), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("bad", [torch.zeros(1, 3, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8).long()])
def test_only_images_are_inpainted(bad):
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got"):
        inpaint(bad, torch.ones(bad.shape, dtype=torch.bool))


def test_without_a_mask_there_is_no_inpainting(x):
    with pytest.raises(ValueError, match=r"depends on the mask.*BaselineForward\(model, 'inpaint'\)"):
        baseline("inpaint", x)


def test_without_opencv_the_line_that_installs_it_is_shown(x, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match=r'opencv-python-headless: pip install .*"\.\[inpaint\]"'):
        inpaint(x, torch.zeros(2, 1, 8, 8, dtype=torch.bool))
