"""The baseline "boundary-normal": fitted to the border, drawn by a seed, and usable wherever a baseline is named."""

from __future__ import annotations

import pytest
import torch
from captum.attr import FeatureAblation
from torch import nn

from captum_ad import BaselineForward
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.baselines.boundary import boundary_normal
from captum_ad.metrics import confidence_kept
from captum_ad.metrics.masking_names import all_maskings
from captum_ad.segmentation import superpixels


def scene() -> torch.Tensor:
    """A bright square before a dim, noisy wall."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 64, 64, generator=generator) * torch.tensor([0.1, 0.05, 0.0])[:, None, None] + 0.2
    x[..., 24:40, 24:40] = 1.0
    return x


def test_has_the_borders_mean_and_covariance():
    x = scene()
    labels = superpixels(x, n_segments=100)[0, 0]
    touching = [i for i in labels.unique() if (labels == i)[0].any() or (labels == i)[-1].any()
                or (labels == i)[:, 0].any() or (labels == i)[:, -1].any()]  # fmt: skip
    pixels = torch.cat([x[0][:, labels == i] for i in touching], 1).double()
    drawn = boundary_normal(x)[0].flatten(1).double()
    assert torch.allclose(drawn.mean(1), pixels.mean(1), atol=2e-3)
    assert torch.allclose(drawn.cov(), pixels.cov(), atol=1e-4)
    assert drawn.max() < 0.5  # nothing of the square


def test_is_seeded_and_takes_samples_one_by_one():
    x = torch.cat([scene(), scene().flip(1)])
    both = boundary_normal(x)
    assert torch.equal(both, boundary_normal(x))
    assert torch.equal(both[1:], boundary_normal(x[1:]))
    assert not torch.equal(both, boundary_normal(x, seed=1))
    assert boundary_normal(x.half().float().double()).dtype == torch.float64


def test_a_baseline_by_name():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x, mask = scene(), torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    forward = BaselineForward(model, "boundary-normal")
    expected = torch.where(mask, x, boundary_normal(x))
    assert torch.equal(forward.painted(x, mask), expected)
    assert torch.allclose(forward(x.expand(3, -1, -1, -1), mask=mask)[2], model(expected)[0])
    assert masked_forward(model, "boundary-normal").baseline == "boundary-normal"
    assert 0 < confidence_kept(model, x, mask, 0, baseline="boundary-normal") < 1
    halves = torch.arange(64).expand(64, 64) // 32
    found = FeatureAblation(forward).attribute(x, target=0, feature_mask=halves)
    assert float(found[0, 0, 0, 63]) == pytest.approx((model(x) - model(expected))[0, 0].item(), abs=1e-6)


def test_no_comparison_has_it_unasked():
    assert "boundary-normal" not in all_maskings()


@pytest.mark.parametrize("x", [torch.rand(3, 8, 8), torch.rand(1, 3, 8), torch.ones(1, 3, 8, 8).long(), None])
def test_what_is_no_image(x):
    with pytest.raises(ValueError, match="boundary-normal: expected a floating-point batch of images"):
        boundary_normal(x)
