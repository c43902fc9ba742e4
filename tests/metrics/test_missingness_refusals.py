"""Missingness: arguments and models that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captum_ad import ADForward
from captum_ad.metrics import missingness_curve, present_masks
from tests.metrics.missingness import PATTERNS, eye, network, photographs


class TestBadInput:
    @pytest.fixture
    def ad(self) -> ADForward:
        return ADForward(network())

    @pytest.mark.parametrize("pattern", ["patch", "", "middle", None])
    def test_no_such_pattern(self, ad, pattern):
        with pytest.raises(ValueError, match=r"pattern must be one of patches, center, superpixels, got"):
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
            missingness_curve(ad, photographs(), [0] * 4, pattern="superpixels", n_segments=segments)

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
        assert missingness_curve(ad, photographs(1), [0], [1.0]).class_kept.shape == (1, 1)
