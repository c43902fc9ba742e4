"""Controls: the object's shape elsewhere, and what hiding the one and the other takes."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from captum_ad import ADForward
from captum_ad.metrics import box_mask, equal_area_control, object_drop
from tests.metrics.models import noise, one_pixel, small_net, untouched

SEEDS = st.integers(0, 999)


def places(mask):
    """By trying them all."""
    height, width = mask.shape
    pixels, found = mask.nonzero(), set()
    for down in range(-height, height):
        for right in range(-width, width):
            moved = pixels + torch.tensor([down, right])
            if (moved < 0).any() or (moved >= torch.tensor([height, width])).any():
                continue
            if not mask[moved[:, 0], moved[:, 1]].any():
                shape = torch.zeros_like(mask)
                shape[moved[:, 0], moved[:, 1]] = True
                found.add(tuple(shape.flatten().tolist()))
    return found


def blob(seed, height=6, width=7):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[1:4, 1:4] = noise(seed, (3, 3)) > 0
    mask[2, 2] = True
    return mask


class TestEqualAreaControl:
    @given(SEEDS)
    def test_the_places_are_all_those_where_the_shape_fits_beside_itself(self, seed):
        mask = blob(seed)
        expected = places(mask)
        assume(expected)
        found = equal_area_control(mask, len(expected), seed=seed)
        assert {tuple(one.flatten().tolist()) for one in found} == expected
        assert not (found & mask).any()
        assert (found.sum((1, 2)) == mask.sum()).all()

    @given(SEEDS, st.integers(1, 4))
    def test_the_seed_decides_and_more_go_on_from_fewer(self, seed, k):
        mask = box_mask((1, 1, 3, 4), 10, 10)
        few, many = equal_area_control(mask, k, seed=seed), equal_area_control(mask, k + 3, seed=seed)
        assert torch.equal(many[:k], few)

    def test_places_are_equally_likely(self):
        mask = torch.tensor([[False, True, False, False]])
        found = torch.cat([equal_area_control(mask, seed=seed) for seed in range(300)]).double().mean(0)[0]
        assert found[1] == 0
        assert (found[[0, 2, 3]] > 0.25).all()

    @pytest.mark.parametrize("box", [(0, 0, 8, 8), (1, 1, 7, 7), (0, 0, 8, 5)])
    def test_an_object_that_is_too_large(self, box):
        with pytest.raises(ValueError, match=r"there are 0 places .* k is 1. The object covers \d+% of the image"):
            equal_area_control(box_mask(box, 8, 8))

    def test_too_few_places(self):
        with pytest.raises(ValueError, match=r"there are 3 places .* k is 4"):
            equal_area_control(torch.tensor([[False, True, False, False]]), 4)

    def test_refused(self):
        for k in (0, -1, True, 1.0):
            with pytest.raises(ValueError, match="number of controls must be a positive integer"):
                equal_area_control(box_mask((0, 0, 1, 1), 4, 4), k)
        for mask in ((0, 0, 1, 1), torch.ones(1, 4, 4, dtype=torch.bool)):
            with pytest.raises(TypeError, match=r"bool \(H, W\)"):
                equal_area_control(mask)
        with pytest.raises(TypeError, match="expected booleans"):
            equal_area_control(torch.ones(4, 4))
        with pytest.raises(ValueError, match="empty"):
            equal_area_control(torch.zeros(4, 4, dtype=torch.bool))


class TestObjectDrop:
    @given(SEEDS)
    def test_is_what_forwards_with_the_masks_say(self, seed):
        model, x = small_net(seed), noise(seed, (1, 2, 6, 6))
        inside = box_mask((1, 2, 3, 5), 6, 6)
        for forward, options in ((ADForward(model), {}), (model, {"baseline": "avg"})):
            found = object_drop(forward, x, inside, 1, controls=3, seed=seed, **options)
            controls = equal_area_control(inside, 3, seed=seed)
            for confidence, hidden in (
                (found.whole, torch.zeros_like(inside)),
                (found.object_hidden, inside),
                *zip(found.control_hidden.tolist(), controls),
            ):
                with torch.no_grad():
                    output = model(torch.where(hidden, x.mean(), x)) if options else forward(x, mask=~hidden)
                assert confidence == pytest.approx(float(output.softmax(1)[0, 1]), abs=1e-9)
            assert found.object == found.whole - found.object_hidden
            assert found.control == pytest.approx(found.whole - float(found.control_hidden.mean()))
            assert found.specific == pytest.approx(found.object - found.control)

    def test_what_the_class_is_about_takes_all(self, hide):
        """Logits (1, 4 · one pixel): only with that one hidden anything changes."""
        model = one_pixel((0, 2, 3), (1, 6, 6))
        forward, options = hide(model)
        x = torch.ones(1, 1, 6, 6)
        found = object_drop(forward, x, (3, 2, 5, 4), 1, **options)
        assert found.control == pytest.approx(0, abs=1e-7)
        assert found.specific == pytest.approx(found.object)
        assert found.specific > 0.5
        elsewhere = object_drop(forward, x, (0, 0, 2, 2), 1, **options)
        assert elsewhere.object == pytest.approx(0, abs=1e-7)
        assert elsewhere.specific <= 1e-7

    def test_a_box_is_its_mask_and_nothing_is_changed(self):
        model, x = small_net(0), noise(0, (1, 2, 6, 6))
        with untouched(model, x):
            one = object_drop(model, x, (1, 1, 3, 3), 0, baseline="zero")
        other = object_drop(model, x, box_mask((1, 1, 3, 3), 6, 6), 0, baseline="zero", batch_size=2)
        assert (one.whole, one.object_hidden) == pytest.approx((other.whole, other.object_hidden))
        torch.testing.assert_close(one.control_hidden, other.control_hidden)

    def test_too_large_an_object_has_no_control(self):
        found = object_drop(small_net(0), noise(0, (1, 2, 6, 6)), (0, 0, 5, 5), 0, baseline="zero")
        assert math.isfinite(found.object)
        assert len(found.control_hidden) == 0
        assert math.isnan(found.control)
        assert math.isnan(found.specific)

    def test_refused(self):
        model, x = small_net(0), noise(0, (1, 2, 6, 6))
        with pytest.raises(ValueError, match="needs a baseline"):
            object_drop(model, x, (0, 0, 2, 2), 0)
        with pytest.raises(ValueError, match="within 0 to 6"):
            object_drop(ADForward(model), x, (0, 0, 7, 2), 0)
        with pytest.raises(ValueError, match="number of controls"):
            object_drop(ADForward(model), x, (0, 0, 2, 2), 0, controls=0)
        with pytest.raises(ValueError, match="explain one at a time"):
            object_drop(ADForward(model), x.expand(2, 2, 6, 6), (0, 0, 2, 2), 0)
        with pytest.raises(ValueError, match=r"\(1, C, H, W\)"):
            object_drop(ADForward(model), x[..., 0], (0, 0, 2, 2), 0)
