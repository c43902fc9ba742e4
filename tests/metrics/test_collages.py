"""Collages: what is in which cell, which images are taken, and what there is to do if there are too few."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_ad.metrics import cell_masks, collage, make_collages
from tests.metrics.models import batches, noise, untouched

SEEDS = st.integers(0, 999)


def by_colour(scale=9.0):
    """The class is the channel with the highest mean."""

    class Means(nn.Module):
        def forward(self, x):
            return scale * x.mean((2, 3))

    return Means().eval()


def plain(*classes, channels=4, size=8):
    return torch.eye(channels)[list(classes)][:, :, None, None].expand(-1, channels, size, size).contiguous()


class TestCollage:
    @given(st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2)]), st.integers(6, 13), st.integers(6, 13))
    def test_plain_images_fill_their_cells(self, grid, height, width):
        cells = grid[0] * grid[1]
        images = torch.arange(1.0, cells + 1)[:, None, None, None].expand(cells, 2, height, width)
        expected = (cell_masks(height, width, grid) * torch.arange(1, cells + 1)[:, None, None]).sum(0)
        torch.testing.assert_close(collage(images, grid), expected.float().expand(1, 2, height, width))

    @given(SEEDS)
    def test_a_cell_shows_its_image_alone(self, seed):
        images = noise(seed, (4, 3, 8, 8))
        changed = images.clone()
        changed[2] = noise(seed + 1, (3, 8, 8))
        differs = (collage(images) != collage(changed))[0].any(0)
        assert not differs[~cell_masks(8, 8)[2]].any()
        assert differs.any()

    def test_images_are_smoothed_not_sampled(self):
        stripes = torch.zeros(4, 1, 16, 16)
        stripes[..., ::2] = 1
        inner = collage(stripes)[0, 0, :, 2:6]
        assert ((inner > 0.3) & (inner < 0.7)).all()

    def test_one_cell_is_the_image(self):
        image = noise(0, (1, 3, 7, 5))
        torch.testing.assert_close(collage(image, (1, 1)), image)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_dtype(self, dtype):
        images = torch.rand(4, 3, 8, 8).to(dtype)
        made = collage(images)
        assert made.dtype == dtype
        torch.testing.assert_close(made.float(), collage(images.float()), atol=0.01, rtol=0.01)

    def test_refused(self):
        with pytest.raises(ValueError, match="2 × 2 takes 4 images, got 3"):
            collage(torch.rand(3, 1, 8, 8))
        with pytest.raises(ValueError, match=r"\(cells, C, H, W\)"):
            collage(torch.rand(4, 8, 8))
        with pytest.raises(TypeError, match=r"torch\.stack"):
            collage([torch.rand(1, 8, 8)] * 4)


class TestMakeCollages:
    IMAGES = plain(0, 0, 0, 1, 1, 2, 3)

    @given(SEEDS, st.integers(1, 20))
    def test_every_cell_has_the_image_and_class_that_it_says_and_classes_differ(self, seed, n):
        images = self.IMAGES + 0.1 * noise(seed, self.IMAGES.shape, torch.float32)
        found = make_collages(by_colour(), images, [0, 0, 0, 1, 1, 2, 3], n=n, seed=seed)
        assert len(found) == n == len({tuple(row) for row in found.images.tolist()})
        for x, targets, chosen in zip(found.x, found.targets.tolist(), found.images):
            assert len(set(targets)) == 4
            assert targets == [[0, 0, 0, 1, 1, 2, 3][i] for i in chosen]
            assert torch.equal(x[None], collage(images[chosen]))

    @given(SEEDS, st.integers(1, 10), st.integers(1, 10))
    def test_the_seed_decides_and_more_go_on_from_fewer(self, seed, n, more):
        few, many = (make_collages(by_colour(), self.IMAGES, n=count, seed=seed) for count in (n, n + more))
        assert torch.equal(many.images[:n], few.images)
        assert torch.equal(many.x[:n], few.x)

    def test_other_seeds_choose_otherwise(self):
        chosen = {str(make_collages(by_colour(), self.IMAGES, n=3, seed=seed).images) for seed in range(5)}
        assert len(chosen) == 5

    def test_without_targets_the_classes_are_the_models(self):
        found = make_collages(by_colour(), self.IMAGES, n=5)
        assert torch.equal(found.targets, torch.tensor([0, 0, 0, 1, 1, 2, 3])[found.images])

    def test_what_the_model_gets_wrong_or_is_not_sure_of_is_left_out(self):
        images = self.IMAGES.clone()
        images[1] *= 0.1  # not sure
        targets = [0, 0, 1, 1, 1, 2, 3]  # the third is wrong
        found = make_collages(by_colour(), images, targets, n=20, min_confidence=0.9)
        assert not {1, 2} & set(found.images.flatten().tolist())

    def test_every_arrangement_can_be_had(self):
        found = make_collages(by_colour(), self.IMAGES, n=3 * 2 * 24)
        assert len({tuple(row) for row in found.images.tolist()}) == 144

    def test_masks_are_the_cells(self):
        found = make_collages(by_colour(), self.IMAGES, grid=(1, 2), n=1)
        assert torch.equal(found.masks, cell_masks(8, 8, (1, 2)))
        assert found.grid == (1, 2)

    def test_neither_model_nor_images_change_and_batches_are_as_asked_for(self):
        model = by_colour()
        with untouched(model, self.IMAGES), batches(model) as sizes:
            make_collages(model, self.IMAGES, n=2, batch_size=3)
        assert sizes == [3, 3, 1]

    def test_lists_of_images(self):
        stacked = make_collages(by_colour(), self.IMAGES, n=2)
        for images in (list(self.IMAGES), list(self.IMAGES[:, None])):
            assert torch.equal(make_collages(by_colour(), images, n=2).x, stacked.x)

    def test_too_few_classes(self):
        with pytest.raises(ValueError, match=r"4 of 4 images, of 3 classes, .* at least 0\.5.*4 different.*lower min"):
            make_collages(by_colour(), plain(0, 0, 1, 2), n=1)
        with pytest.raises(ValueError, match=r"0 of 7 images, of 0 classes, with a confidence of at least 0\.999"):
            make_collages(by_colour(scale=1.0), self.IMAGES, n=1, min_confidence=0.999)

    def test_too_few_images(self):
        with pytest.raises(ValueError, match=r"makes 144 different collages, and n is 145: .*ask for fewer"):
            make_collages(by_colour(), self.IMAGES, n=145)

    def test_refused(self):
        for n in (0, True, 2.0):
            with pytest.raises(ValueError, match="n must be a positive number of collages"):
                make_collages(by_colour(), self.IMAGES, n=n)
        with pytest.raises(ValueError, match="got 7 images and 3 targets"):
            make_collages(by_colour(), self.IMAGES, [0, 1, 2])
        with pytest.raises(ValueError, match="0 images"):
            make_collages(by_colour(), [])
        with pytest.raises(ValueError, match="images of one shape"):
            make_collages(by_colour(), [torch.rand(4, 8, 8), torch.rand(4, 8, 9)])
        with pytest.raises(ValueError, match="does not fit"):
            make_collages(by_colour(), self.IMAGES, grid=(9, 1))
        with pytest.raises(ValueError, match="min_confidence"):
            make_collages(by_colour(), self.IMAGES, min_confidence=1.5)
        with pytest.raises(ValueError, match="train mode"):
            make_collages(by_colour().train(), self.IMAGES)
