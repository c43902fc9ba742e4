"""Networks of torchvision and others: classifiers, segmentation, backbones of detectors, video."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer, detection, list_models, segmentation, video
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

QUICK = "resnet18 mobilenet_v3_small shufflenet_v2_x0_5 squeezenet1_1".split()
TOO_LARGE = ("regnet_y_128gf", "vit_h_14")  # 645 and 633 million parameters
ATTENTION = ("vit_", "swin", "maxvit", "mvit")
SIZES = {"vit_": (224, 224), "maxvit": (224, 224), "swin": (64, 64)}
ZOO = Path(__file__).resolve().parents[3] / "shared" / "zoo"


def get(name: str) -> nn.Module:
    """A torchvision model with random weights."""
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # slow to initialize unless told not to; transform their input if trained
        options = {"init_weights": False, "transform_input": True}
    if name in (*list_models(module=segmentation), *list_models(module=detection)):
        options = {"weights_backbone": None}
    return torchvision.models.get_model(name, weights=None, **options)


def zoo_model() -> nn.Module:
    if not ZOO.exists():
        pytest.skip("the zoo of trained models is not here")
    sys.path.insert(0, str(ZOO))
    import zoo

    return zoo.CifarResNet20()


def lite0() -> nn.Module:
    return pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")


def pick(key: str) -> Callable[[dict[str, Tensor]], Tensor]:
    return lambda output: output[key]


def torchvision_network(name: str, build: Callable[[], nn.Module], **settings: Any) -> Network:
    return Network(name, "torchvision", build, **settings)


CLASSIFIERS = [
    torchvision_network(
        name,
        partial(get, name),
        size=next((size for start, size in SIZES.items() if name.startswith(start)), (96, 96)),
        exact=not name.startswith(ATTENTION),
        slow=name not in QUICK,
    )
    for name in list_models(module=torchvision.models)
    if name not in TOO_LARGE
]

SMALL_TRANSFORMERS = [  # as the library builds them, with fewer and narrower blocks
    torchvision_network(name, build, size=(64, 64), exact=False)
    for name, build in {
        "VisionTransformer, 2 blocks": lambda: VisionTransformer(64, 16, 2, 2, 32, 64),
        "SwinTransformer, 4 blocks": lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4]),
        "SwinTransformer V2, 4 blocks": lambda: SwinTransformer(
            [4, 4], 16, [2, 2], [2, 4], [4, 4], block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2
        ),
        "MaxVit, 2 blocks": lambda: MaxVit((64, 64), 16, 4, [16, 16], [1, 1], 8, 0.0),
    }.items()
]

SEGMENTATION = [
    torchvision_network(name, partial(get, name), select=pick("out"), slow=name != "lraspp_mobilenet_v3_large")
    for name in list_models(module=segmentation)
]

FPN = [
    torchvision_network(
        f"resnet18 with FPN, map {key}",
        lambda: resnet_fpn_backbone(backbone_name="resnet18", weights=None),
        select=pick(key),
        slow=True,
    )
    for key in ("0", "pool")
] + [
    torchvision_network(
        f"mobilenet_v3_large with FPN, map {key}",
        lambda: mobilenet_backbone(backbone_name="mobilenet_v3_large", weights=None, fpn=True),
        select=pick(key),
        slow=key == "0",
    )
    for key in ("0", "pool")
]

BACKBONES = [
    torchvision_network(
        f"backbone of {name}",
        lambda name=name: get(name).backbone,
        select=lambda maps: next(iter(maps.values())),
        size=(320, 320) if name == "ssd300_vgg16" else (96, 96),
        slow=True,
    )
    for name in list_models(module=detection)
]


def all_found(detections: list[dict[str, Tensor]]) -> Tensor:
    """The boxes, scores and labels of each sample, however many."""
    return torch.stack(
        [
            torch.cat([one["boxes"], one["scores"][:, None], one["labels"][:, None].float()], 1).sum(0)
            for one in detections
        ]
    )


def detector(name: str) -> nn.Module:
    """A detector that looks at small images, and keeps a few boxes whatever their scores."""
    rcnn = "rcnn" in name
    options: dict[str, Any] = {"box_score_thresh" if rcnn else "score_thresh": 0.0}
    options |= {"box_detections_per_img" if rcnn else "detections_per_img": 8}
    if rcnn:
        options |= {"rpn_pre_nms_top_n_test": 50, "rpn_post_nms_top_n_test": 20}
    if "ssd" not in name:
        options |= {"min_size": 96, "max_size": 96}
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4, **options)
    for module in model.modules():
        if isinstance(module, Bottleneck):  # untrained ones double what passes through, until no box is left
            nn.init.uniform_(module.bn3.weight, 0, 0.3)
        if name.startswith("ssdlite") and isinstance(module, nn.Conv2d):  # untrained, all images look the same to it
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


DETECTORS = [
    torchvision_network(
        name,
        partial(detector, name),
        size=(320, 320) if name.startswith("ssd") else (96, 96),
        select=all_found,
        exact=False,
        slow=True,
    )
    for name in list_models(module=detection)
]

VIDEO = [
    torchvision_network(
        name,
        partial(get, name),
        size=(16, 224, 224) if name.startswith(("s3d", "mvit")) else (8, 32, 32),
        exact=not name.startswith(ATTENTION),
        slow=True,
    )
    for name in list_models(module=video)
]

OTHERS = [
    Network("efficientnet_lite0", "others", lite0, size=(224, 224)),  # its padding is static
    Network("resnet20_cifar10", "others", zoo_model, size=(32, 32)),
]


@each([*CLASSIFIERS, *SMALL_TRANSFORMERS, *SEGMENTATION, *FPN, *BACKBONES, *DETECTORS, *VIDEO, *OTHERS])
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)
