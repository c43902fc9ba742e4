"""Collages: what is in which cell, which images are taken, and what there is to do if there are too few."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_ad.metrics import cell_masks, collage, make_collages
from captum_ad.metrics.turns import Turns, sets_of
from tests.metrics.models import batches, noise, untouched

SEEDS = st.integers(0, 999)


def by_color(scale=90.0):
    """The class is the channel with the highest mean: of a collage, that of the brightest image."""

    class Means(nn.Module):
        def forward(self, x):
            return scale * x.mean((2, 3))

    return Means().eval()


def plain(*classes, channels=4, size=8):
    """Images of one color, each a little brighter than the one before."""
    brightness = (1 + 0.2 * torch.arange(len(classes)))[:, None, None, None]
    colors = torch.eye(channels)[list(classes)][:, :, None, None].expand(-1, channels, size, size)
    return (brightness * colors).contiguous()


def drawn(classes, cells, n, seed):
    """The sets of a run in which every one suits."""
    turns, sets = Turns(classes, cells, seed), []
    for _ in range(n):
        sets.append(turns.drawn())
        turns.taken(sets[-1])
    return sets


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
        with pytest.raises(ValueError, match="2 × 2 grid needs 4 images, got 3"):
            collage(torch.rand(3, 1, 8, 8))
        with pytest.raises(ValueError, match=r"\(cells, C, H, W\)"):
            collage(torch.rand(4, 8, 8))
        with pytest.raises(TypeError, match=r"torch\.stack"):
            collage([torch.rand(1, 8, 8)] * 4)


class TestMakeCollages:
    IMAGES = plain(0, 0, 0, 1, 1, 2, 3)  # makes 3 · 2 sets of four classes

    @given(SEEDS, st.integers(1, 6))
    def test_every_cell_has_the_image_and_class_that_it_says_and_classes_differ(self, seed, n):
        images = self.IMAGES + 0.01 * noise(seed, self.IMAGES.shape, torch.float32)
        found = make_collages(by_color(), images, [0, 0, 0, 1, 1, 2, 3], n=n, seed=seed)
        assert len(found) == n == len({frozenset(row) for row in found.images.tolist()})
        answers = by_color()(found.x).softmax(1)
        torch.testing.assert_close(found.confidence, answers.amax(1))
        assert torch.equal(found.targets.gather(1, found.explained[:, None])[:, 0], answers.argmax(1))
        for x, targets, chosen in zip(found.x, found.targets.tolist(), found.images):
            assert len(set(targets)) == 4
            assert targets == [[0, 0, 0, 1, 1, 2, 3][i] for i in chosen]
            assert torch.equal(x[None], collage(images[chosen]))

    @given(SEEDS, st.integers(1, 3), st.integers(1, 3))
    def test_the_seed_decides_and_more_go_on_from_fewer(self, seed, n, more):
        few, many = (make_collages(by_color(), self.IMAGES, n=count, seed=seed) for count in (n, n + more))
        assert torch.equal(many.images[:n], few.images)
        assert torch.equal(many.x[:n], few.x)

    def test_other_seeds_choose_otherwise(self):
        chosen = {str(make_collages(by_color(), self.IMAGES, n=3, seed=seed).images) for seed in range(5)}
        assert len(chosen) == 5

    @given(SEEDS, st.lists(st.integers(1, 5), min_size=4, max_size=12), st.integers(1, 12))
    def test_images_take_turns(self, seed, sizes, n):
        classes, start = {}, 0
        for i, size in enumerate(sizes):
            classes[i] = list(range(start, start + size))
            start += size
        found = drawn(classes, 3, min(n, sets_of(sizes, 3)), seed)
        assert len({frozenset(row) for row in found}) == len(found)
        if max(sizes) <= sum(sizes) // 3:  # else one class has more images than there are collages without another
            seen = [image for row in found for image in row]
            once = 3 * (sum(sizes) // 3)
            assert len(set(seen[:once])) == len(seen[:once])
            assert max(map(seen.count, seen)) <= -(-len(seen) // sum(sizes)) + 1

    def test_without_targets_the_classes_are_the_models(self):
        found = make_collages(by_color(), self.IMAGES, n=5)
        assert torch.equal(found.targets, torch.tensor([0, 0, 0, 1, 1, 2, 3])[found.images])

    def test_what_the_model_gets_wrong_or_is_not_sure_of_is_left_out(self):
        images = self.IMAGES.clone()
        images[1] *= 0.001  # not sure
        targets = [0, 0, 1, 1, 1, 2, 3]  # the third is wrong
        found = make_collages(by_color(), images, targets, n=2, min_confidence=0.9)
        assert not {1, 2} & set(found.images.flatten().tolist())

    def test_every_set_can_be_had_and_every_order(self):
        found = make_collages(by_color(), self.IMAGES, n=3 * 2)
        assert len({frozenset(row) for row in found.images.tolist()}) == 6
        orders = {tuple(drawn({0: [0], 1: [1], 2: [2]}, 3, 1, seed)[0]) for seed in range(60)}
        assert len(orders) == 6

    def test_only_collages_count_in_which_the_model_is_sure_of_a_class(self):
        """Two images are as bright as one another: of a collage of theirs it is not sure."""
        images = plain(0, 1, 2, 3)
        images[3] = 1.0001 * plain(3)[0] * images[2].max()
        found = make_collages(by_color(), images, grid=(1, 2), n=5, min_confidence=0.9)
        assert sorted(map(sorted, found.images.tolist())) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]]
        assert (found.confidence >= 0.9).all()
        with pytest.raises(
            ValueError, match=r"4 of 4 images, .*of 6 collages of these, .* in 5, .*and n is 6: give more"
        ):
            make_collages(by_color(), images, grid=(1, 2), n=6, min_confidence=0.9)

    def test_masks_are_the_cells(self):
        found = make_collages(by_color(), self.IMAGES, grid=(1, 2), n=1)
        assert torch.equal(found.masks, cell_masks(8, 8, (1, 2)))
        assert found.grid == (1, 2)

    def test_neither_model_nor_images_change_and_batches_are_as_asked_for(self):
        model = by_color()
        with untouched(model, self.IMAGES), batches(model) as sizes:
            make_collages(model, self.IMAGES, n=2, batch_size=3)
        assert sizes == [3, 3, 1, 1, 1]  # and each collage

    def test_lists_of_images(self):
        stacked = make_collages(by_color(), self.IMAGES, n=2)
        for images in (list(self.IMAGES), list(self.IMAGES[:, None])):
            assert torch.equal(make_collages(by_color(), images, n=2).x, stacked.x)

    def test_too_few_classes(self):
        with pytest.raises(
            ValueError,
            match=r"4 of 4 images, in 3 classes, .* at least 0\.5.*4 different.*lower min",
        ):
            make_collages(by_color(), plain(0, 0, 1, 2), n=1)
        with pytest.raises(
            ValueError, match=r"none of 7 images with a confidence of at least 0\.999: check that targets"
        ):
            make_collages(by_color(scale=0.5), self.IMAGES, n=1, min_confidence=0.999)

    def test_too_few_images(self):
        with pytest.raises(ValueError, match=r"enough for 6 different collages, but n is 7: .*lower n"):
            make_collages(by_color(), self.IMAGES, n=7)

    def test_refused(self):
        for n in (0, True, 2.0):
            with pytest.raises(ValueError, match="n must be a positive number of collages"):
                make_collages(by_color(), self.IMAGES, n=n)
        for seed in (-1, 1.5, True):
            with pytest.raises(ValueError, match="seed must be an integer"):
                make_collages(by_color(), self.IMAGES, n=1, seed=seed)
        with pytest.raises(ValueError, match="got 7 images and 3 targets"):
            make_collages(by_color(), self.IMAGES, [0, 1, 2])
        with pytest.raises(ValueError, match="0 images"):
            make_collages(by_color(), [])
        with pytest.raises(ValueError, match="images of the same shape"):
            make_collages(by_color(), [torch.rand(4, 8, 8), torch.rand(4, 8, 9)])
        with pytest.raises(ValueError, match="does not fit"):
            make_collages(by_color(), self.IMAGES, grid=(9, 1))
        with pytest.raises(ValueError, match="min_confidence"):
            make_collages(by_color(), self.IMAGES, min_confidence=1.5)
        with pytest.raises(ValueError, match="train mode"):
            make_collages(by_color().train(), self.IMAGES)
