"""Occlusion in a region: Captum's over everything, and nothing outside of a part."""

import pytest
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import RegionOcclusion
from captum_ad.targets import Class


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)).eval()


X = torch.rand(2, 2, 11, 9, generator=torch.Generator().manual_seed(0))
EVERYWHERE = torch.ones(11, 9, dtype=torch.bool)


@pytest.mark.parametrize("strides", [None, 2, (2, 3, 2)])
@pytest.mark.parametrize("kind", ["plain", "ad", "paint"])
def test_everywhere_it_is_captums(model: nn.Module, kind: str, strides) -> None:
    forward = {"plain": model, "ad": ADForward(model), "paint": BaselineForward(model, "avg")}[kind]
    windows = {"sliding_window_shapes": (2, 4, 3), "strides": strides, "target": 1}
    if kind == "plain":
        windows["baselines"] = 0.5
    found = RegionOcclusion(forward).attribute(X, EVERYWHERE, perturbations_per_eval=5, **windows)
    expected = Occlusion(forward).attribute(X, **windows)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_windows_stay_in_the_region(model: nn.Module) -> None:
    roi = torch.zeros(11, 9, dtype=torch.bool)
    roi[3:7, 2:5] = True
    calls = []

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.clone())
            return model(x)

    one_by_one = {"perturbations_per_eval": 1}
    found = RegionOcclusion(Counted().eval()).attribute(X[:1], roi, (2, 2, 2), (2, 2, 2), target=1, **one_by_one)
    assert not found[..., ~roi].any()
    assert found[..., roi].any()
    assert len(calls) == 1 + 3 * 2  # windows from rows 2, 4 and 6, columns 2 and 4
    for seen in calls:
        assert torch.equal(seen[..., ~roi], X[:1][..., ~roi])
    own = ADForward(model, target=Class(1))
    by_index = RegionOcclusion(ADForward(model)).attribute(X, roi, (2, 2, 2), target=1)
    assert torch.equal(RegionOcclusion(own).attribute(X, roi[None, None], (2, 2, 2)), by_index)


def test_a_region_for_each_sample_and_series() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1, keepdim=True)

    x = torch.arange(1.0, 13).reshape(2, 6)
    roi = torch.tensor([[True] * 2 + [False] * 4, [False] * 4 + [True] * 2])
    found = RegionOcclusion(Sum().eval()).attribute(x, roi, (1,))
    assert torch.equal(found, x * roi)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"roi": torch.zeros(11, 9, dtype=torch.bool)}, "roi is empty"),
        ({"roi": torch.ones(5, 9, dtype=torch.bool)}, "roi has shape"),
        ({"sliding_window_shapes": (1, 2, 2)}, r"expected \(2, side, side\)"),
        ({"sliding_window_shapes": (2, 20, 2)}, "larger than the input"),
        ({"strides": (1, 1)}, "one per dimension"),
        ({"strides": 0}, "at least 1"),
        ({"inputs": (X, X)}, "additional_forward_args"),
    ],
)
def test_bad_input(model: nn.Module, given, message: str) -> None:
    call = {"inputs": X, "roi": EVERYWHERE, "sliding_window_shapes": (2, 2, 2), "target": 0, **given}
    with pytest.raises(ValueError, match=message):
        RegionOcclusion(model).attribute(**call)
