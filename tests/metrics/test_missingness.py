"""Missingness: what is present, and accuracy and confidence over how much of it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad.metrics import MissingnessCurve, missingness_curve, present_masks
from captum_ad.superpixels import superpixels

SHARES = (0.0, 0.3, 0.5, 0.8, 1.0)
PATTERNS = ("patches", "centre", "superpixels")
FEW = settings(max_examples=25)


def network() -> nn.Sequential:
    """Of the usual parts, with batch statistics of its own; photographs are of all its four classes."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        norm, head = nn.BatchNorm2d(6), nn.Linear(6, 4)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        body = (nn.Conv2d(3, 6, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU())
        model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        outputs = model(photographs(32))
        head.weight *= 2 / outputs.std(0)[:, None]
        head.bias -= model(photographs(32)).mean(0)
    return model


def eye(row: int, column: int, height: int, width: int, channels: int = 1) -> nn.Sequential:
    """Says 1 if one pixel's first channel is above a half, else 0."""
    head = nn.Linear(channels * height * width, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2.0, 0.0]))
        head.weight[1, row * width + column] = 4.0
    return nn.Sequential(nn.Flatten(), head).eval()


def photographs(n: int = 4, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    """Blocks of colour with some noise, for superpixels to find."""
    generator = torch.Generator().manual_seed(n + height)
    blocks = torch.rand(n, channels, 3, 4, generator=generator)
    noise = 0.05 * torch.rand(n, channels, height, width, generator=generator)
    return nn.functional.interpolate(blocks, (height, width)) * 0.9 + noise + 0.01


class Recorder:
    """A baseline that says what was asked of it."""

    def __init__(self) -> None:
        self.masks: list[Tensor] = []

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        assert mask.shape[1] == 1
        self.masks.append(mask[:, 0].clone())
        return torch.zeros_like(x)


class RecordingAD(ADForward):
    """An ADForward that says what was asked of it."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.masks: list[Tensor] = []

    def forward(self, *inputs: Any, mask: Any = None, **more: Any) -> Tensor:
        self.masks.append(mask.clone())
        return super().forward(*inputs, mask=mask, **more)


def masks_of(images: Sequence[Tensor] | Tensor, shares: Sequence[float] = SHARES, **options: Any) -> Tensor:
    """What a curve hides, shape (images, shares, H, W)."""
    seen = Recorder()
    missingness_curve(network(), images, [0] * len(images), shares, baseline=seen, **options)
    return torch.cat(seen.masks).reshape(len(images), len(set(shares)), *images[0].shape[-2:])


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
        masks = present_masks(photographs(1), shares, "superpixels", segments=segments, seed=seed)
        for share, mask in zip(shares, masks):
            assert all(bool((mask <= other).all()) for more, other in zip(shares, masks) if share <= more)

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize(("height", "width"), [(12, 16), (11, 7), (3, 20)])
    def test_nothing_and_everything(self, pattern, height, width):
        none, whole = present_masks(photographs(1, height=height, width=width), (0, 1), pattern, patch=4, segments=9)
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


class TestCentre:
    @given(sides, st.integers(1, 40), st.floats(0, 1))
    def test_a_rectangle_in_the_middle_of_the_images_aspect(self, height, width, share):
        mask = present_masks(torch.rand(1, 1, height, width), [share], "centre")[0]
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
        mask = present_masks(torch.rand(1, 1, height, width), [0.25], "centre")[0]
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        assert torch.equal(mask, expected)

    def test_no_chance(self):
        x = torch.rand(1, 1, 9, 9)
        assert torch.equal(*(present_masks(x, SHARES, "centre", seed=seed) for seed in (0, 1)))


class TestSuperpixels:
    @FEW
    @given(st.floats(0.01, 1), st.integers(1, 40), seeds)
    def test_whole_ones_until_the_share_is_reached(self, share, segments, seed):
        x = photographs(1)
        mask = present_masks(x, [share], "superpixels", segments=segments, seed=seed)[0]
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
        few, many = (present_masks(x, [0.01], "superpixels", segments=n, seed=0).sum() for n in (4, 60))
        assert many < few

    def test_they_are_random_too(self):
        x = photographs(1)
        masks = {present_masks(x, [0.5], "superpixels", segments=20, seed=seed).numpy().tobytes() for seed in range(9)}
        assert len(masks) > 5

    def test_missing_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "skimage", None)
        monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
        with pytest.raises(ImportError, match=r'pip install "captum_ad\[superpixels\]"'):
            present_masks(photographs(1), [0.5], "superpixels")


class TestWhatACurveHides:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_the_same_for_every_masking(self, pattern):
        images, options = photographs(3), {"pattern": pattern, "patch": 4, "segments": 12, "seed": 5}
        painted = masks_of(images, **options)
        for preset in ("paper", "no-growth-mean"):
            ad = RecordingAD(network(), preset)
            missingness_curve(ad, images, [0, 1, 2], SHARES, **options)
            assert torch.equal(torch.cat(ad.masks), painted.flatten(0, 1))

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_it_is_what_present_masks_gives(self, pattern):
        images = photographs(3)
        found = masks_of(images, pattern=pattern, patch=4, segments=12, seed=5)
        for i, image in enumerate(images):
            expected = present_masks(image[None], SHARES, pattern, patch=4, segments=12, seed=(5, i))
            assert torch.equal(found[i], expected)

    @pytest.mark.parametrize("pattern", ["patches", "superpixels"])
    def test_each_image_has_masks_of_its_own(self, pattern):
        same = photographs(1).repeat(5, 1, 1, 1)
        masks = masks_of(same, [0.5], pattern=pattern, patch=2, segments=30)
        assert len({mask.numpy().tobytes() for mask in masks}) == 5

    @pytest.mark.parametrize("pattern", ["patches", "superpixels"])
    def test_seeds_decide(self, pattern):
        images = photographs(2)
        first, again, other = (masks_of(images, pattern=pattern, patch=2, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        for i in range(2):
            assert not torch.equal(first[i], other[i])

    def test_a_seed_has_no_image_of_another_seeds(self):
        same = photographs(1).repeat(4, 1, 1, 1)
        drawn = torch.cat([masks_of(same, [0.5], patch=2, seed=seed) for seed in range(4)])
        assert len({mask.numpy().tobytes() for mask in drawn}) == 16

    def test_further_images_change_nothing_for_the_first_ones(self):
        images = photographs(4)
        assert torch.equal(masks_of(images, patch=4)[:2], masks_of(images[:2], patch=4))


def one_by_one(
    forward: Callable[[Tensor, Tensor], Tensor], images: Tensor, targets: Sequence[int], masks: Tensor
) -> tuple[list[list[bool]], list[list[float]]]:
    """Which targets are kept, and their confidences, in Python's own numbers."""
    kept: list[list[bool]] = []
    confidences: list[list[float]] = []
    for image, target, shares in zip(images, targets, masks):
        kept.append([])
        confidences.append([])
        for mask in shares:
            with torch.no_grad():
                logits = forward(image[None], mask)[0].double().tolist()
            exponentials = [np.exp(logit - max(logits)) for logit in logits]
            confidences[-1].append(exponentials[target] / sum(exponentials))
            kept[-1].append(all(logits[target] > logit for i, logit in enumerate(logits) if i != target))
    return kept, confidences


def painted(model: nn.Module, paint: Callable[[Tensor], Tensor | float]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, mask: model(torch.where(mask, x, torch.as_tensor(paint(x), dtype=x.dtype)))


GREEN = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)
BASELINES: dict[str, tuple[Any, Callable[[Tensor], Tensor | float]]] = {
    "zero": ("zero", lambda x: 0.0),
    "max": ("max", lambda x: x.max()),
    "avg": ("avg", lambda x: x.mean()),
    "value": (0.3, lambda x: 0.3),
    "tensor": (GREEN, lambda x: GREEN),
    "function": (lambda x, mask: 1 - x, lambda x: 1 - x),
}


class TestCurve:
    @pytest.fixture
    def images(self) -> Tensor:
        return photographs(5)

    @staticmethod
    def compare(found: MissingnessCurve, kept: list[list[bool]], confidences: list[list[float]]) -> None:
        assert found.sizes.tolist() == list(SHARES)
        assert found.kept.tolist() == kept
        torch.testing.assert_close(found.confidence.double(), torch.tensor(confidences).double(), rtol=1e-4, atol=1e-6)
        accuracy = [sum(row[k] for row in kept) / len(kept) for k in range(len(SHARES))]
        assert found.values.tolist() == pytest.approx(accuracy)
        mean = [sum(row[k] for row in confidences) / len(confidences) for k in range(len(SHARES))]
        assert found.confidences.tolist() == pytest.approx(mean, rel=1e-4)
        assert {0 < value < 1 for value in found.values.tolist()} == {True, False}  # an accuracy worth measuring

    @pytest.mark.parametrize("name", BASELINES)
    def test_paint_is_what_one_image_at_a_time_gives(self, images, name):
        given_baseline, paint = BASELINES[name]
        model = network()
        targets = model(images).argmax(1).tolist()
        found = missingness_curve(model, images, targets, SHARES, baseline=given_baseline, patch=4)
        masks = masks_of(images, patch=4)
        self.compare(found, *one_by_one(painted(model, paint), images, targets, masks))

    @pytest.mark.parametrize("preset", ["paper", "no-growth", "no-growth-mean"])
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_ad_is_what_one_image_at_a_time_gives(self, images, preset, pattern):
        model = network()
        ad, targets = ADForward(model, preset), model(images).argmax(1).tolist()
        options = {"pattern": pattern, "patch": 4, "segments": 12}
        found = missingness_curve(ad, images, targets, SHARES, **options)
        masks = masks_of(images, **options)
        self.compare(found, *one_by_one(lambda x, mask: ad(x, mask=mask), images, targets, masks))

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("masking", ["ad", "zero"])
    def test_a_class_that_one_pixel_decides_is_right_where_that_is_present(self, pattern, masking):
        images, row, column = torch.ones(24, 3, 12, 16), 4, 9
        model = eye(row, column, 12, 16, channels=3)
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        options = {"pattern": pattern, "patch": 4, "segments": 12}
        found = missingness_curve(forward, images, [1] * 24, SHARES, baseline=paint, seed=3, **options)
        masks = [present_masks(x[None], SHARES, seed=(3, i), **options) for i, x in enumerate(images)]
        present = torch.stack(masks)[:, :, row, column]
        assert torch.equal(found.kept, present)
        assert found.values.tolist() == present.double().mean(0).tolist()
        sure = torch.where(present, torch.tensor(2.0).sigmoid(), torch.tensor(-2.0).sigmoid())
        torch.testing.assert_close(found.confidence, sure)
        torch.testing.assert_close(found.confidences, sure.double().mean(0), rtol=1e-6, atol=1e-6)

    def test_a_target_that_is_not_the_answer_is_not_kept(self):
        model, images = eye(0, 0, 4, 4), torch.ones(2, 1, 4, 4)
        found = missingness_curve(model, images, [1, 0], (0, 1), baseline="zero", patch=2)
        assert found.kept.tolist() == [[False, True], [True, False]]
        assert found.values.tolist() == [0.5, 0.5]

    @pytest.mark.parametrize("masking", ["ad", "avg", "inpaint"])
    def test_the_whole_image_gives_what_the_plain_model_gives(self, images, masking):
        model = network()
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        targets = [0, 1, 2, 3, 0]
        found = missingness_curve(forward, images, targets, baseline=paint, patch=4)
        confidences = model(images).softmax(1)
        torch.testing.assert_close(found.confidence[:, -1], confidences[range(5), targets])
        assert found.kept[:, -1].tolist() == (confidences.argmax(1) == torch.tensor(targets)).tolist()
        assert found.at(1) == float((confidences.argmax(1) == torch.tensor(targets)).double().mean())

    @pytest.mark.parametrize("masking", ["ad", "zero"])
    def test_nothing_is_the_same_whatever_the_image(self, images, masking):
        model = network()
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        found = missingness_curve(forward, images, [1] * 5, [0], baseline=paint)
        torch.testing.assert_close(found.confidence, found.confidence[:1].expand(5, 1))

    @pytest.mark.parametrize("masking", ["ad", "avg"])
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 64])
    def test_batches_do_not_matter(self, images, masking, batch_size):
        model = network()
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        sizes = []
        whole = missingness_curve(forward, images, [0, 1, 2, 3, 0], SHARES, baseline=paint, patch=4)
        handle = model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        found = missingness_curve(
            forward, images, [0, 1, 2, 3, 0], SHARES, baseline=paint, patch=4, batch_size=batch_size
        )
        handle.remove()
        assert torch.equal(found.kept, whole.kept)
        torch.testing.assert_close(found.confidence, whole.confidence)
        assert max(sizes) == min(batch_size, len(SHARES))
        assert sum(sizes) == 5 * len(SHARES)

    def test_the_order_of_shares_does_not_matter_nor_do_repetitions(self, images):
        ad, targets = ADForward(network()), [0, 1, 2, 3, 0]
        grown = missingness_curve(ad, images, targets, (0.25, 0.5, 1.0), patch=4)
        mixed = missingness_curve(ad, images, targets, [1, 0.25, 0.5, 1.0, 0.25], patch=4)
        for name in ("sizes", "values", "confidences", "kept", "confidence"):
            torch.testing.assert_close(getattr(mixed, name), getattr(grown, name), msg=name)
        assert mixed.sizes.tolist() == [0.25, 0.5, 1]
        assert mixed.area == pytest.approx(grown.area)

    def test_images_as_one_tensor_or_many_with_or_without_a_batch_of_one(self, images):
        ad, targets = ADForward(network()), [0, 1, 2, 3, 0]
        expected = missingness_curve(ad, images, torch.tensor(targets), patch=4).confidence
        for given_images in (list(images), list(images[:, None]), images[:, None]):
            assert torch.equal(missingness_curve(ad, given_images, targets, patch=4).confidence, expected)

    def test_images_may_differ_in_size(self):
        images = [photographs(1, height=height, width=width)[0] for height, width in ((12, 16), (9, 9), (20, 5))]
        found = missingness_curve(ADForward(network()), images, [0, 1, 2], patch=4)
        for i, image in enumerate(images):
            confidence = network()(image[None]).softmax(1)[0, i]
            torch.testing.assert_close(found.confidence[i, -1], confidence)

    def test_shapes_and_dtypes(self, images):
        found = missingness_curve(ADForward(network()), images, [0] * 5, (0.1, 0.5, 1), patch=4)
        assert isinstance(found, MissingnessCurve)
        for name in ("sizes", "values", "confidences"):
            assert (getattr(found, name).dtype, getattr(found, name).shape) == (torch.float64, (3,))
        assert (found.kept.dtype, found.kept.shape) == (torch.bool, (5, 3))
        assert found.confidence.shape == (5, 3)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_other_dtypes(self, images, dtype):
        model = network().to(dtype)
        for forward, paint in ((ADForward(model), None), (model, "avg")):
            found = missingness_curve(forward, images.to(dtype), [0] * 5, baseline=paint, patch=4)
            expected = missingness_curve(
                ADForward(network()) if paint is None else network(), images, [0] * 5, baseline=paint, patch=4
            )
            assert found.confidences.dtype == torch.float64
            torch.testing.assert_close(found.confidences, expected.confidences, rtol=0, atol=0.1)

    @pytest.mark.parametrize(
        ("activation", "expected"), [("softmax", [0.1192, 0.8808]), ("sigmoid", [0.5, 0.982]), ("none", [0.0, 4.0])]
    )
    def test_activation(self, activation, expected):
        model = eye(0, 0, 4, 4)
        found = missingness_curve(model, torch.ones(1, 1, 4, 4), [1], (0, 1), baseline="zero", activation=activation)
        assert found.confidences.tolist() == pytest.approx(expected, abs=1e-3)

    def test_neither_the_model_nor_the_images_are_changed(self, images):
        model = network()
        parts = {"model": model, "ad": ADForward(model)}
        images.requires_grad_()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for name, forward in parts.items():
            found = missingness_curve(forward, images, [0] * 5, baseline="avg" if name == "model" else None, patch=4)
            assert not found.confidence.requires_grad
        assert torch.equal(images, photographs(5))
        assert images.grad is None
        assert not any(module.training for module in model.modules())
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_progress_is_shown_if_asked_for(self, images, capsys):
        missingness_curve(ADForward(network()), images, [0] * 5, patch=4)
        assert capsys.readouterr() == ("", "")
        missingness_curve(ADForward(network()), images, [0] * 5, patch=4, show_progress=True)
        assert "Missingness: 100%" in capsys.readouterr().err


class TestBadInput:
    @pytest.fixture
    def ad(self) -> ADForward:
        return ADForward(network())

    @pytest.mark.parametrize("pattern", ["patch", "", "center", None])
    def test_no_such_pattern(self, ad, pattern):
        with pytest.raises(ValueError, match=r"pattern must be one of patches, centre, superpixels, got"):
            missingness_curve(ad, photographs(), [0] * 4, pattern=pattern)
        with pytest.raises(ValueError, match=r"pattern must be one of"):
            present_masks(photographs(1), [0.5], pattern)

    @pytest.mark.parametrize("share", [-0.1, 1.01, 50, float("nan"), "half", True, None])
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_shares_that_are_none(self, ad, share, pattern):
        with pytest.raises(ValueError, match=r"must be a number from 0 to 1, got"):
            missingness_curve(ad, photographs(), [0] * 4, [0.5, share], pattern)
        with pytest.raises(ValueError, match=r"must be a number from 0 to 1, got"):
            present_masks(photographs(1), [0.5, share], pattern)

    def test_no_shares(self, ad):
        with pytest.raises(ValueError, match="shares is empty"):
            missingness_curve(ad, photographs(), [0] * 4, [])

    @pytest.mark.parametrize("patch", [0, -1, 2.5, True, None])
    def test_patches_that_are_none(self, ad, patch):
        with pytest.raises(ValueError, match="patch must be a positive number of pixels"):
            missingness_curve(ad, photographs(), [0] * 4, patch=patch)

    @pytest.mark.parametrize("segments", [0, -3, 1.5])
    def test_segments_that_are_none(self, ad, segments):
        with pytest.raises(ValueError, match="segments must be a positive integer"):
            missingness_curve(ad, photographs(), [0] * 4, pattern="superpixels", segments=segments)

    @pytest.mark.parametrize("n", [0, 3, 5])
    def test_as_many_targets_as_images(self, ad, n):
        with pytest.raises(ValueError, match=f"one target per image, got 4 images and {n} targets"):
            missingness_curve(ad, photographs(), [0] * n)

    @pytest.mark.parametrize("images", [[], torch.zeros(0, 3, 8, 8)])
    def test_no_images(self, ad, images):
        with pytest.raises(ValueError, match="0 images"):
            missingness_curve(ad, images, [])

    @pytest.mark.parametrize(
        "image", [torch.rand(1, 3, 4, 6, 6), torch.rand(3, 4, 6, 6), torch.rand(6, 6), torch.rand(2, 3, 6, 6)]
    )
    def test_images_of_other_shapes(self, ad, image):
        with pytest.raises(ValueError, match=r"expected (one input|an image) of shape \(1, C"):
            missingness_curve(ad, [image], [0])

    @pytest.mark.parametrize("x", [torch.rand(3, 6, 6), torch.rand(1, 3, 4, 6, 6), torch.rand(2, 3, 6, 6)])
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_masks_are_of_one_image(self, x, pattern):
        with pytest.raises(ValueError, match=r"expected an image of shape \(1, C, H, W\)"):
            present_masks(x, [0.5], pattern)

    @pytest.mark.parametrize("image", [np.zeros((3, 6, 6), dtype=np.float32), "photo.jpg", [[0.0]]])
    def test_images_that_are_no_tensors(self, ad, image):
        with pytest.raises(TypeError, match="must be a Tensor, got"):
            missingness_curve(ad, [image], [0])

    @pytest.mark.parametrize("target", [4, -1])
    def test_no_such_class(self, ad, target):
        with pytest.raises(ValueError, match=f"target {target} is out of range"):
            missingness_curve(ad, photographs(1), [target])

    @pytest.mark.parametrize("targets", [[0.9], torch.tensor([0.9]), [True]])
    def test_a_target_is_a_class_index_and_not_rounded_to_one(self, ad, targets):
        with pytest.raises((TypeError, ValueError), match="class index"):
            missingness_curve(ad, photographs(1), targets)

    @pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
    def test_batch_sizes_that_are_none(self, ad, batch_size):
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            missingness_curve(ad, photographs(1), [0], batch_size=batch_size)

    def test_a_plain_model_needs_a_baseline(self):
        with pytest.raises(ValueError, match="a plain model needs a baseline"):
            missingness_curve(network(), photographs(1), [0])

    def test_an_ad_forward_needs_none(self, ad):
        with pytest.raises(ValueError, match="needs none"):
            missingness_curve(ad, photographs(1), [0], baseline="zero")

    def test_a_function_is_no_module(self):
        with pytest.raises(TypeError, match=r"expected an ADForward or a torch\.nn\.Module, got function"):
            missingness_curve(lambda x: x, photographs(1), [0], baseline="zero")  # type: ignore[arg-type]

    def test_an_answer_that_is_nan(self):
        model = eye(0, 0, 4, 4)
        with pytest.raises(ValueError, match="NaN or Inf"):
            missingness_curve(model, torch.ones(1, 1, 4, 4), [1], [0], baseline=float("nan"))


class TestTrainMode:
    """Batch statistics mix the shares of an image, and learn from them."""

    @pytest.mark.parametrize("wrap", [False, True])
    def test_is_refused(self, wrap):
        model = network().train()
        forward, paint = (ADForward(model), None) if wrap else (model, "zero")
        with pytest.raises(ValueError, match=r"train mode.*Call model\.eval\(\) first"):
            missingness_curve(forward, photographs(1), [0], baseline=paint)

    @pytest.mark.filterwarnings("ignore:.*train mode")
    def test_is_refused_if_the_model_was_switched_after_it_was_wrapped(self):
        model = network()
        ad = ADForward(model)
        model.train()
        before = model[1].running_mean.clone()
        with pytest.raises(ValueError, match="train mode"):
            missingness_curve(ad, photographs(1), [0])
        assert torch.equal(model[1].running_mean, before)

    def test_does_not_stay_after_eval_was_called_on_the_model(self):
        model = network().train()
        ad = ADForward(model)
        model.eval()
        assert missingness_curve(ad, photographs(1), [0], [1.0]).kept.shape == (1, 1)
