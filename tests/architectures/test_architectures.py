"""Every supported architecture, random weights: Theorem 1 and missing means missing, under every preset."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward

FAMILIES = (
    "alexnet vgg11 vgg11_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 regnet_x_400mf regnet_y_400mf "
    "efficientnet_b0 efficientnet_v2_s mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 squeezenet1_0 "
    "squeezenet1_1 densenet121 googlenet inception_v3 mnasnet0_5 convnext_tiny"
).split()
NOT_CONVOLUTIONAL = ("vit_", "swin_", "maxvit")
TOO_LARGE = ("regnet_y_128gf",)  # 645 million parameters
OTHERS = [
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if name not in FAMILIES and name not in TOO_LARGE and not name.startswith(NOT_CONVOLUTIONAL)
]
ZOO = Path(__file__).resolve().parents[3] / "shared" / "zoo"
ALL = [*FAMILIES, "efficientnet_lite0", "resnet20_cifar10", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)]


def build(name: str) -> tuple[nn.Module, int]:
    """The model with random weights, and its smallest comfortable input size."""
    torch.manual_seed(0)
    if name == "efficientnet_lite0":
        package = pytest.importorskip("efficientnet_lite_pytorch")
        return package.EfficientNet.from_name("efficientnet-lite0").eval(), 224  # its padding is static
    if name == "resnet20_cifar10":
        if not ZOO.exists():
            pytest.skip("the zoo of trained models is not here")
        sys.path.insert(0, str(ZOO))
        import zoo

        return zoo.CifarResNet20().eval(), 32
    # GoogLeNet and Inception initialise slowly unless told not to, and transform their input when trained
    options = {"init_weights": False, "transform_input": True} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **options).eval(), 96


def half(size: int) -> Tensor:
    mask = torch.ones(size, size, dtype=torch.bool)
    mask[:, : size // 2] = False
    return mask


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_theorem_1(name: str, found: Callable[[str, str], None]) -> None:
    """Bit for bit; also for a sample whose mask is full, while its neighbour's is not."""
    model, size = build(name)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    plain, masks = model(x), torch.stack([torch.ones(size, size, dtype=torch.bool), half(size)])
    for rule in PRESETS:
        for tau in (0.0, 0.3, 0.999999):
            ad = ADForward(model, rule, tau=tau)
            assert torch.equal(ad(x), plain)
            masked = ad(x, mask=masks)
            assert torch.equal(masked[0], plain[0]), (rule, tau)
            assert not torch.equal(masked[1], plain[1]), (rule, tau)
    found(name, "Theorem 1")


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_missing_means_missing(name: str, found: Callable[[str, str], None]) -> None:
    """Whatever stands behind the mask, and NaN without a mask, gives the same bits."""
    model, size = build(name)
    x, mask = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1)), half(size)
    for rule in PRESETS:
        ad = ADForward(model, rule)
        expected = ad(x, mask=mask)
        assert expected.isfinite().all()
        for junk in (float("nan"), float("inf"), 1e30):
            assert torch.equal(ad(torch.where(mask, x, junk), mask=mask), expected), (rule, junk)
        assert torch.equal(ad(torch.where(mask, x, float("nan"))), expected), rule
        assert not torch.equal(ad(x), expected)
        assert ad(x, mask=torch.zeros_like(mask)).isfinite().all()
    found(name, "missing means missing")
