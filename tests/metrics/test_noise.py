"""Noise robustness: what the noises do, a network whose answer noise turns, statistics by hand, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, Occlusion
from torch import nn

from captum_ad import ADForward, UnknownNameError
from captum_ad.adapters.grad_cam import cam_attribute
from captum_ad.metrics import (
    NoiseRobustness,
    corrupted,
    noise_responses,
    noise_study,
    plot_noise_robustness,
    rank_biased_overlap,
)
from captum_ad.metrics.noises import NOISES
from tests.metrics.models import linear, untouched

IMAGE = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BLOCKS = (torch.arange(4).reshape(2, 2)).repeat_interleave(2, 0).repeat_interleave(2, 1)
"""Four segments of a 4×4 image."""


class TestNoises:
    @pytest.mark.parametrize("noise", NOISES)
    def test_stronger_by_level_seeded_and_in_range(self, noise):
        found = [corrupted(IMAGE, noise, level, seed=3) for level in range(1, 6)]
        apart = [float((one - IMAGE).abs().mean()) for one in found]
        assert apart == sorted(apart)
        assert apart[0] > 0
        for level, one in enumerate(found, start=1):
            assert (one.shape, one.dtype) == (IMAGE.shape, IMAGE.dtype)
            assert one.min() >= 0
            assert one.max() <= 1
            assert torch.equal(one, corrupted(IMAGE, noise, level, seed=3))
            half = corrupted(IMAGE.float(), noise, level, seed=3)
            assert half.dtype == torch.float32

    @pytest.mark.parametrize("noise", ["gaussian", "salt_and_pepper", "speckle", "poisson"])
    def test_another_seed_another_noise(self, noise):
        assert not torch.equal(corrupted(IMAGE, noise, 3, seed=0), corrupted(IMAGE, noise, 3, seed=1))

    def test_what_they_are(self):
        gray = torch.full((1, 200, 200), 0.5, dtype=torch.float64)
        assert float((corrupted(gray, "gaussian", 1) - gray).std()) == pytest.approx(0.08, rel=0.03)
        assert float((corrupted(gray, "speckle", 1) - gray).std()) == pytest.approx(0.075, rel=0.03)
        assert float((corrupted(gray, "poisson", 1) - gray).std()) == pytest.approx((0.5 / 60) ** 0.5, rel=0.03)
        flipped = corrupted(gray, "salt_and_pepper", 5)
        assert float((flipped == 0).double().mean()) == pytest.approx(0.135, abs=0.01)
        assert float((flipped == 1).double().mean()) == pytest.approx(0.135, abs=0.01)
        step = torch.tensor([[[0.2, 0.2, 0.8, 0.8]]])
        assert corrupted(step, "contrast", 1).flatten().tolist() == pytest.approx([0.38, 0.38, 0.62, 0.62])
        assert corrupted(step, "brightness", 5).flatten().tolist() == pytest.approx([0.7, 0.7, 1, 1])

    def test_blur_is_a_gaussian(self):
        point = torch.zeros(1, 21, 21, dtype=torch.float64)
        point[0, 10, 10] = 1
        found = corrupted(point, "blur", 1)[0]
        assert float(found[10, 11] / found[10, 10]) == pytest.approx(math.exp(-0.5))
        assert float(found.sum()) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("image", "noise", "level", "error", "match"),
        [
            (IMAGE, "gausian", 1, UnknownNameError, "did you mean 'gaussian'"),
            (IMAGE, "blur", 6, ValueError, "level must be an integer from 1 to 5, got 6"),
            (IMAGE, "blur", True, ValueError, "level must be"),
            (IMAGE[None], "blur", 1, ValueError, r"shape \(C, H, W\), got \(1, 3, 24, 24\)"),
            (2 * IMAGE, "blur", 1, ValueError, "before normalizing"),
            (IMAGE[:2], "jpeg", 1, ValueError, "one or three channels, got 2"),
        ],
    )
    def test_refusals(self, image, noise, level, error, match):
        with pytest.raises(error, match=match):
            corrupted(image, noise, level)


def bright(threshold: float) -> nn.Module:
    """Class 1 if the mean of a 4×4 image is above the threshold."""
    return linear(torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]), (16 * threshold, 0.0))


RISING = torch.tensor([[0.0, 0.1], [0.2, 0.3]]).repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]


class TestResponses:
    def test_of_a_network_whose_answer_brightness_turns(self):
        """The map is the image for class 0 and the image upside down for class 1."""

        def attribute(x, target):
            return x if target == 0 else x.flip(2)

        found = noise_responses(bright(0.4), RISING, attribute, ["brightness"], (1, 2, 3), feature_mask=BLOCKS)
        assert [one.class_kept for one in found] == [True, True, False]  # means of .25, .35 and .45
        turned = rank_biased_overlap([3, 2, 1, 0], [1, 0, 3, 2])
        assert [one.similarity for one in found] == pytest.approx([1, 1, turned])

    def test_normalized_inputs_are_disturbed_as_displayed(self):
        seen = []

        def attribute(x, target):
            seen.append(x)
            return x

        x = (RISING - 0.5) / 0.25
        noise_responses(bright(0.4), x, attribute, ["brightness"], [1], mean=[0.5], std=0.25, feature_mask=BLOCKS)
        assert torch.equal(seen[0], x)
        assert torch.allclose(seen[1], (RISING + 0.1 - 0.5) / 0.25)

    def test_maps_of_captum_and_of_grad_cam_fit(self):
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )
        model.eval()
        x = IMAGE.float()[None]
        tiles = torch.arange(16).reshape(4, 4).repeat_interleave(6, 0).repeat_interleave(6, 1)

        def cam(input_tensor, targets):
            return np.stack([input_tensor[0].mean(0).numpy() * float(targets[0](model(input_tensor)[0]))])

        for attribute in (
            lambda x, t: LayerGradCam(model, model[0]).attribute(x, t),
            lambda x, t: Occlusion(ADForward(model)).attribute(x, target=t, sliding_window_shapes=(3, 8, 8), strides=8),
            cam_attribute(cam),
        ):
            with untouched(model, x):
                (one,) = noise_responses(model, x, attribute, ["contrast"], [1], feature_mask=tiles)
            assert 0 <= one.similarity <= 1

    def test_a_map_that_ranks_nothing_has_no_similarity(self):
        (one,) = noise_responses(bright(0.4), RISING, lambda x, t: torch.ones(4, 4), ["blur"], [1], feature_mask=BLOCKS)
        assert math.isnan(one.similarity)

    @pytest.mark.parametrize(
        ("settings", "error", "match"),
        [
            ({"noises": "blur"}, ValueError, r"write \['blur'\]"),
            ({"noises": ["snow"]}, UnknownNameError, "unknown noise 'snow'"),
            ({"levels": [0]}, ValueError, "levels must be a sequence of integers from 1 to 5"),
            ({"similarity": "cosine"}, UnknownNameError, "unknown similarity 'cosine'"),
            ({"mean": 2.0}, ValueError, "give mean= and std="),
            ({"mean": [0, 0]}, ValueError, "mean has 2 values for 1 channels"),
            ({"p": 0.0}, ValueError, "p must be"),
        ],
    )
    def test_refusals(self, settings, error, match):
        with pytest.raises(error, match=match):
            noise_responses(
                bright(0.4), RISING, lambda x, t: x, **{"noises": ["blur"], "feature_mask": BLOCKS, **settings}
            )

    def test_models_and_maps_of_another_kind(self):
        with pytest.raises(ValueError, match="at least two classes"):
            noise_responses(
                linear(torch.ones(1, 1, 4, 4), (0.0,)), RISING, lambda x, t: x, ["blur"], feature_mask=BLOCKS
            )
        with pytest.raises(ValueError, match="attribution of positions"):
            noise_responses(bright(0.4), RISING, lambda x, t: torch.ones(3), ["blur"], feature_mask=BLOCKS)
        with pytest.raises(ValueError, match="train mode"):
            noise_responses(bright(0.4).train(), RISING, lambda x, t: x, ["blur"], feature_mask=BLOCKS)


class TestClass:
    def test_is_the_product_of_means(self):
        def attribute(x, target):
            return x if target == 0 else x.flip(2)

        metric = NoiseRobustness(["brightness", "contrast"], (1, 2, 3))
        for threshold in (0.4, 0.9):
            metric.update(bright(threshold), RISING, attribute, feature_mask=BLOCKS)
        turned = rank_biased_overlap([3, 2, 1, 0], [1, 0, 3, 2])
        assert (int(metric.kept), int(metric.changed), int(metric.undefined)) == (11, 1, 0)
        assert float(metric.consistency) == pytest.approx(1)
        assert float(metric.compute()) == pytest.approx(1 - turned)
        assert metric.compute().dtype == torch.float64

    def test_without_a_change_there_is_no_responsiveness(self):
        metric = NoiseRobustness(["contrast"], [1])
        assert math.isnan(float(metric.consistency))
        metric.update(bright(0.9), RISING, lambda x, t: x, feature_mask=BLOCKS)
        metric.update(bright(0.9), RISING, lambda x, t: torch.ones(4, 4), feature_mask=BLOCKS)
        assert (int(metric.changed), int(metric.undefined)) == (0, 1)
        assert math.isnan(float(metric.responsiveness))
        assert math.isnan(float(metric.compute()))

    def test_settings_are_refused_when_it_is_made(self):
        for wrong in ({"noises": ["snow"]}, {"levels": []}, {"similarity": "x"}):
            with pytest.raises(ValueError, match=r"unknown|levels"):
                NoiseRobustness(**wrong)


class TestStudy:
    METHODS = {"same": lambda x, t: x, "flat": lambda x, t: torch.ones(4, 4)}  # noqa: RUF012

    def run(self, images, **more):
        settings = {"noises": ["brightness", "blur"], "levels": (1, 3), "similarity": "rank_correlation"}
        return noise_study(bright(0.4), images, self.METHODS, **{**settings, **more})

    def test_a_row_for_each(self):
        found = self.run({"a": RISING, "b": RISING.flip(3)})
        keys = found[["image", "method", "noise", "level"]].values.tolist()
        assert keys == [list(key) for key in itertools.product("ab", self.METHODS, ("brightness", "blur"), (1, 3))]
        assert found[found["method"] == "flat"]["similarity"].isna().all()

    def test_goes_on_from_a_file(self, tmp_path):
        path = tmp_path / "noise.csv"
        first = self.run({"a": RISING}, path=path)
        both = self.run({"a": RISING, "b": RISING.flip(3)}, path=path)
        assert both.head(len(first)).equals(first)
        with pytest.raises(ValueError, match="other settings"):
            self.run({"a": RISING}, path=path, seed=1)
        with pytest.raises(ValueError, match="got 0 images and 2"):
            self.run({})

    def test_plot_has_a_panel_per_noise_and_a_line_per_method(self):
        records = self.run({"a": RISING, "b": RISING.flip(3)})
        _, axes = plot_noise_robustness(records, use_pyplot=False)
        assert [axis.get_title() for axis in axes] == ["brightness", "blur"]
        labels = [line.get_label() for line in axes[0].lines]
        assert labels == ["same", "flat", "class kept"]
        assert axes[0].lines[2].get_ydata().tolist() == [1, 0]
        with pytest.raises(UnknownNameError, match="unknown value of noise"):
            plot_noise_robustness(records, "stability", use_pyplot=False)
