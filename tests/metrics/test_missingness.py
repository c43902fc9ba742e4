"""Missingness: what a curve hides, and accuracy and confidence over how much is present."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad.metrics import MissingnessCurve, missingness_curve, present_masks
from tests.metrics.missingness import PATTERNS, SHARES, eye, network, photographs


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

    def outputs(self, *inputs: Any, mask: Any = None, **more: Any) -> Any:
        self.masks.append(mask.clone())
        return super().outputs(*inputs, mask=mask, **more)


def masks_of(images: Sequence[Tensor] | Tensor, shares: Sequence[float] = SHARES, **options: Any) -> Tensor:
    """What a curve hides, shape (images, shares, H, W)."""
    seen = Recorder()
    missingness_curve(network(), images, [0] * len(images), shares, baseline=seen, **options)
    return torch.cat(seen.masks).reshape(len(images), len(set(shares)), *images[0].shape[-2:])


class TestWhatACurveHides:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_the_same_for_every_masking(self, pattern):
        images, options = photographs(3), {"pattern": pattern, "patch": 4, "n_segments": 12, "seed": 5}
        painted = masks_of(images, **options)
        for preset in ("paper", "no-growth-mean"):
            ad = RecordingAD(network(), preset)
            missingness_curve(ad, images, [0, 1, 2], SHARES, **options)
            assert torch.equal(torch.cat(ad.masks), painted.flatten(0, 1))

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_it_is_what_present_masks_gives(self, pattern):
        images = photographs(3)
        found = masks_of(images, pattern=pattern, patch=4, n_segments=12, seed=5)
        for i, image in enumerate(images):
            expected = present_masks(image[None], SHARES, pattern, patch=4, n_segments=12, seed=(5, i))
            assert torch.equal(found[i], expected)

    @pytest.mark.parametrize("pattern", ["patches", "superpixels"])
    def test_each_image_has_masks_of_its_own(self, pattern):
        same = photographs(1).repeat(5, 1, 1, 1)
        masks = masks_of(same, [0.5], pattern=pattern, patch=2, n_segments=30)
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
        assert found.class_kept.tolist() == kept
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
        options = {"pattern": pattern, "patch": 4, "n_segments": 12}
        found = missingness_curve(ad, images, targets, SHARES, **options)
        masks = masks_of(images, **options)
        self.compare(found, *one_by_one(lambda x, mask: ad(x, mask=mask), images, targets, masks))

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("masking", ["ad", "zero"])
    def test_a_class_that_one_pixel_decides_is_right_where_that_is_present(self, pattern, masking):
        images, row, column = torch.ones(24, 3, 12, 16), 4, 9
        model = eye(row, column, 12, 16, channels=3)
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        options = {"pattern": pattern, "patch": 4, "n_segments": 12}
        found = missingness_curve(forward, images, [1] * 24, SHARES, baseline=paint, seed=3, **options)
        masks = [present_masks(x[None], SHARES, seed=(3, i), **options) for i, x in enumerate(images)]
        present = torch.stack(masks)[:, :, row, column]
        assert torch.equal(found.class_kept, present)
        assert found.values.tolist() == present.double().mean(0).tolist()
        sure = torch.where(present, torch.tensor(2.0).sigmoid(), torch.tensor(-2.0).sigmoid())
        torch.testing.assert_close(found.confidence, sure)
        torch.testing.assert_close(found.confidences, sure.double().mean(0), rtol=1e-6, atol=1e-6)

    def test_a_target_that_is_not_the_answer_is_not_kept(self):
        model, images = eye(0, 0, 4, 4), torch.ones(2, 1, 4, 4)
        found = missingness_curve(model, images, [1, 0], (0, 1), baseline="zero", patch=2)
        assert found.class_kept.tolist() == [[False, True], [True, False]]
        assert found.values.tolist() == [0.5, 0.5]

    @pytest.mark.parametrize("masking", ["ad", "avg", "inpaint"])
    def test_the_whole_image_gives_what_the_plain_model_gives(self, images, masking):
        model = network()
        forward, paint = (ADForward(model), None) if masking == "ad" else (model, masking)
        targets = [0, 1, 2, 3, 0]
        found = missingness_curve(forward, images, targets, baseline=paint, patch=4)
        confidences = model(images).softmax(1)
        torch.testing.assert_close(found.confidence[:, -1], confidences[range(5), targets])
        assert found.class_kept[:, -1].tolist() == (confidences.argmax(1) == torch.tensor(targets)).tolist()
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
        assert torch.equal(found.class_kept, whole.class_kept)
        torch.testing.assert_close(found.confidence, whole.confidence)
        assert max(sizes) == min(batch_size, len(SHARES))
        assert sum(sizes) == 5 * len(SHARES)

    def test_the_order_of_shares_does_not_matter_nor_do_repetitions(self, images):
        ad, targets = ADForward(network()), [0, 1, 2, 3, 0]
        grown = missingness_curve(ad, images, targets, (0.25, 0.5, 1.0), patch=4)
        mixed = missingness_curve(ad, images, targets, [1, 0.25, 0.5, 1.0, 0.25], patch=4)
        for name in ("sizes", "values", "confidences", "class_kept", "confidence"):
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
        assert (found.class_kept.dtype, found.class_kept.shape) == (torch.bool, (5, 3))
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
        ("to_confidence", "expected"), [("softmax", [0.1192, 0.8808]), ("sigmoid", [0.5, 0.982]), ("none", [0.0, 4.0])]
    )
    def test_to_confidence(self, to_confidence, expected):
        model = eye(0, 0, 4, 4)
        found = missingness_curve(
            model, torch.ones(1, 1, 4, 4), [1], (0, 1), baseline="zero", to_confidence=to_confidence
        )
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
