"""Captum's attributors on an ADForward compute only what a mask changes, and give what full computation gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from captum.attr import FeatureAblation, KernelShap, Occlusion
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from captum_ad import ADForward
from captum_ad._forwards.keeping import keeping_runs


def occluded(forward: nn.Module, x: Tensor) -> Tensor:
    kwargs = {"sliding_window_shapes": (3, 10, 7), "strides": (3, 9, 7), "perturbations_per_eval": 5}
    return Occlusion(forward).attribute(x, target=0, **kwargs)


def ablated(forward: nn.Module, x: Tensor) -> Tensor:
    cells = torch.arange(16).reshape(4, 4).repeat_interleave(16, 0).repeat_interleave(16, 1)
    return FeatureAblation(forward).attribute(x, target=0, feature_mask=cells, perturbations_per_eval=3)


def shap(forward: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    halves = (torch.arange(64) // 16).expand(64, 64)
    return KernelShap(forward).attribute(x, target=0, feature_mask=halves, n_samples=9, perturbations_per_eval=2)


NETWORKS = ["resnet18", "densenet121", "mobilenet_v3_small", "convnext_tiny", "googlenet"]


@pytest.mark.parametrize(
    ("explain", "network"),
    [
        *((occluded, network) for network in NETWORKS),
        (ablated, "convnext_tiny"),
        (shap, "resnet18"),
        (shap, "googlenet"),
    ],
)
def test_attributions_are_those_of_full_computation(explain: Callable[..., Tensor], network: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(network, **({"init_weights": True} if network == "googlenet" else {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: nothing vanishes on the way
            nn.init.uniform_(module.weight, 0.8, 1.2)
        if hasattr(module, "layer_scale"):
            nn.init.ones_(module.layer_scale)
    model, x = model.eval(), torch.randn(1, 3, 64, 64)
    expected, found = (explain(ADForward(model, "no-growth-mean", skip_dead=skip), x) for skip in (False, True))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("size", [(1, 96), (96, 1)])
def test_along_a_side_of_one_position(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kernel = (3, 5) if size[0] == 1 else (5, 3)
    layers = [nn.Conv2d(n, 4, kernel, padding=tuple(k // 2 for k in kernel)) for n in (1, 4, 4)]
    model, masks = nn.Sequential(*layers).double().eval(), torch.ones(4, 96, dtype=torch.bool)
    for number, mask in enumerate(masks):
        mask[20 * number : 20 * number + 12] = False
    x, mask = torch.randn(1, 1, *size, dtype=torch.double).expand(4, -1, -1, -1), masks.reshape(4, 1, *size)
    with torch.no_grad():
        expected = ADForward(model, "no-growth-mean")(x, mask=mask)
        with keeping_runs():
            found = ADForward(model, "no-growth-mean")(x, mask=mask)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("network", "most"), [("resnet18", 0.55), ("vgg11_bn", 0.35), ("convnext_tiny", 0.9)])
def test_less_is_computed(network: str, most: float) -> None:
    """Multiply-adds, as a share of those of full computation, windows of a seventh of the side."""
    model, x = torchvision.models.get_model(network).eval(), torch.rand(1, 3, 224, 224)
    mask = torch.ones(2, 1, 224, 224, dtype=torch.bool)
    mask[0, :, 96:128, 96:128] = mask[1, :, :32, 160:192] = False
    counts = []
    for skip in (False, True):
        ad = ADForward(model, skip_dead=skip)
        with torch.no_grad(), keeping_runs():
            with FlopCounterMode(display=False):
                ad(x, mask=mask[:1])  # the run that is kept
            with FlopCounterMode(display=False) as counter:
                ad(x.expand(2, 3, 224, 224), mask=mask)
        counts.append(counter.get_total_flops())
    assert counts[1] < most * counts[0]
