"""Families of pytorchcv that neither torchvision nor timm has, a small member of each.

Opt-in: ``pip install ".[test-architectures]"``, then ``pytest tests/architectures/test_pytorchcv.py -m slow`` (half an
hour). ``--table tutorials/networks.md`` puts the results into the table of networks; ``-k NAME`` runs one network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

models = pytest.importorskip("pytorchcv.model_provider")
pytestmark = pytest.mark.slow

CLASSIFIERS = (
    "darknet_tiny mobilenetb_wd4 fdmobilenet_wd4 shufflenet_g3_wd4 shufflenetv2b_wd2 menet108_8x1_g3 espnetv2_wd2 "
    "igcv3_wd4 dicenet_wd5 squeezeresnet_v1_0 channelnet peleenet octresnet10_ad2 resneta10 diracnet18v2 cbam_resnet18"
).split()
CIFAR = (
    "nin preresnet20 seresnet20 sepreresnet20 resnext20_32x2d diaresnet20 diapreresnet20 densenet40_k12 "
    "xdensenet40_2_k24_bc ror3_56 shakeshakeresnet20_2x16d shakedropresnet20 resdropresnet20"
).split()
CITYSCAPES = (
    "fastscnn cgnet dabnet fpenet ctxnet lednet esnet edanet enet erfnet linknet sqnet unet espcnet"  # segmentation
).split()
KEYPOINTS = "simplepose_resnet18_coco lwopenpose2d_mobilenet_cmupan_coco centernet_resnet18_voc".split()
LARGER = (  # with blocks that no other has
    "bam_resnet18 condensenet74_c4_g4 revnet38 isqrtcovresnet18 vovnet27s hardnet39ds sqnxt23_w1 bagnet9 msdnet22"
).split()

REFUSED = {
    "centernet_resnet18_voc": ("gather", "its head gathers the largest values of a map at places that it finds"),
    "simplepose_resnet18_coco": ("__int__", "its head reads the place of each map's maximum as a Python number"),
}
"""Networks through which no mask can be followed: a pattern of the error, and why."""


def build(name: str, **options: Any) -> nn.Module:
    model: nn.Module = models.get_model(name, pretrained=False, **options)
    return model


def first(out: Any) -> Tensor:
    """The main one of several outputs."""
    return out if isinstance(out, Tensor) else first(out[0])


def network(name: str, size: int, **options: Any) -> Network:
    make = partial(build, name, **options)
    return Network(name, "pytorchcv", make, (size, size), first, refused=REFUSED.get(name), slow=True)


NETWORKS = [
    *(network(name, 224) for name in [*CLASSIFIERS, *LARGER]),
    *(network(f"{name}_cifar10", 32) for name in CIFAR),
    *(network(f"{name}_cityscapes", 64, in_size=(64, 64)) for name in CITYSCAPES),
    *(network(name, 64, in_size=(64, 64)) for name in KEYPOINTS),
]


@each(NETWORKS)
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)
