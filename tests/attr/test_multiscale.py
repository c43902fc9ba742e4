"""MultiScale against a loop over scales and regions, on networks that know, under AD and every paint; refusals."""

from __future__ import annotations

import math

import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, IntegratedGradients, KernelShap, Lime, Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import MultiScale, log_odds, pyramid
from tests.metrics.models import noise, small_net

MODEL, X = small_net(6), noise(3, (1, 2, 6, 6))


def tiles(side: int) -> Tensor:
    """Square regions of a 6×6 image."""
    place = torch.arange(6) // side
    return place[:, None] * (6 // side) + place


def by_hand(forward: nn.Module, masks: list[Tensor], index: int) -> Tensor:
    """Each region's drop of the log-odds, from probabilities, averaged over scales position by position."""

    def odds(mask: Tensor) -> float:
        with torch.no_grad():
            p = float(forward(X, mask=mask).softmax(1)[0, index])
        return math.log(p / (1 - p))

    whole, found = odds(torch.ones(6, 6, dtype=torch.bool)), torch.zeros(6, 6, dtype=torch.float64)
    for labels in masks:
        for region in labels.unique():
            found[labels == region] += (whole - odds(labels != region)) / len(masks)
    return found


FORWARDS = {
    "AD": ADForward(MODEL),
    "paper": ADForward(MODEL, "paper"),
    **{name: BaselineForward(MODEL, name) for name in ("zero", "avg", "blur", "linear", "boundary-normal")},
}


class TestReference:
    @pytest.mark.parametrize("name", FORWARDS)
    def test_evidence_of_regions(self, name):
        forward, masks = FORWARDS[name], [tiles(1), tiles(2), tiles(3)]
        attributor = FeatureAblation(forward.with_target(log_odds(1, classes=3)))
        found = MultiScale(attributor).attribute(X, feature_masks=masks)
        assert torch.allclose(found, by_hand(forward, masks, 1).expand(1, 2, 6, 6))

    @pytest.mark.parametrize("kind", [KernelShap, Lime])
    def test_surrogates_are_the_mean_of_their_own(self, kind):
        surrogate = {"interpretable_model": SkLearnRidge(alpha=1.0)} if kind is Lime else {}
        attributor, masks = kind(ADForward(MODEL), **surrogate), [tiles(2), tiles(3)]
        torch.manual_seed(0)
        found = MultiScale(attributor).attribute(X, feature_masks=masks, target=2, n_samples=40)
        torch.manual_seed(0)
        one, other = (attributor.attribute(X, feature_mask=mask, target=2, n_samples=40) for mask in masks)
        assert torch.allclose(found, (one + other) / 2)
        assert found.any()

    def test_of_a_network_that_adds_up_all_scales_share_a_region_by_its_size(self):
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        x = torch.zeros(1, 1, 6, 6)
        x[0, 0, 1, 1] = 36
        found = MultiScale(FeatureAblation(model)).attribute(x, target=0, feature_masks=[tiles(1), tiles(3)])
        assert float(found[0, 0, 1, 1]) == 1
        assert float(found[0, 0, 2, 2]) == 0.5
        assert not found[0, 0, 3:].any()

    def test_several_inputs(self):
        class Two(nn.Module):
            def forward(self, a: Tensor, b: Tensor) -> Tensor:
                return (a.mean((2, 3)) + 2 * b.mean((2, 3))).double()

        masks = [(tiles(2), tiles(2) + 9), (tiles(3), tiles(3) + 4)]
        a, b = torch.rand(1, 1, 6, 6), torch.rand(1, 1, 6, 6)
        found = MultiScale(FeatureAblation(Two())).attribute((a, b), feature_masks=masks, target=0)
        assert [one.shape for one in found] == [a.shape, b.shape]
        with pytest.raises(ValueError, match="one tuple of masks per scale"):
            MultiScale(FeatureAblation(Two())).attribute((a, b), target=0)


class TestPyramid:
    def test_is_the_default(self):
        x = torch.rand(1, 3, 24, 24)
        model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        attributor = FeatureAblation(ADForward(model))
        found = MultiScale(attributor).attribute(x, target=1)
        assert torch.equal(found, MultiScale(attributor).attribute(x, target=1, feature_masks=pyramid(x)))

    def test_levels_are_finer_and_finer(self):
        levels = pyramid(torch.rand(1, 3, 48, 48), (5, 20, 80))
        counts = [int(level.max()) + 1 for level in levels]
        assert counts == sorted(counts)
        assert counts[0] < counts[2]

    def test_log_odds(self):
        outputs = noise(0, (5, 4))
        p = outputs.softmax(1)[:, 2]
        assert torch.allclose(log_odds(2, classes=4).score(outputs), (p / (1 - p)).log())


class TestBadInput:
    @pytest.mark.parametrize("attributor", [Occlusion(MODEL), IntegratedGradients(MODEL), MODEL])
    def test_attributors_without_feature_masks(self, attributor):
        with pytest.raises(TypeError, match="takes feature_mask="):
            MultiScale(attributor)

    @pytest.mark.parametrize(
        ("given", "error", "match"),
        [
            ({"feature_masks": tiles(2)}, ValueError, "got a single tensor"),
            ({"feature_masks": []}, ValueError, "got none"),
            ({"feature_mask": tiles(2)}, TypeError, "give feature_masks="),
            ({"feature_masks": [torch.zeros(3, 3, dtype=torch.int64)]}, ValueError, "the feature mask has shape"),
        ],
    )
    def test_feature_masks(self, given, error, match):
        with pytest.raises(error, match=match):
            MultiScale(FeatureAblation(ADForward(MODEL))).attribute(X, target=0, **given)

    def test_classes_and_scales(self):
        for index, classes in ((3, 3), (-1, 3), (0, 1), (0, True)):
            with pytest.raises(ValueError, match="at least 2 classes"):
                log_odds(index, classes)
        with pytest.raises(ValueError, match="scales is empty"):
            pyramid(torch.rand(1, 3, 8, 8), [])
