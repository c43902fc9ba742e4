"""torchvision's detectors under AD: features are missing from the backbone's output.

Masks propagate through resizing and the backbone. The later parts (proposals, heads, top k, non-maximum suppression,
ROI pooling) select among the backbone's features, so they run unchanged, with zeros where features are deactivated.
The rules apply to torchvision's own types. Your own detector with another ``forward`` needs its own rule.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from captum_ad._engine import Interpreter, register_rule
from captum_ad._engine.axes import Axes, Role, axis
from captum_ad._engine.registry import has_rule_for

KINDS = (GeneralizedRCNN, detection.RetinaNet, detection.FCOS, detection.ssd.SSD)


def register(model: nn.Module) -> None:
    """Register rules for torchvision's detectors in a model, unless others are registered."""
    for kind in KINDS:
        if any(isinstance(module, kind) for module in model.modules()) and not has_rule_for(kind):
            register_rule(kind)(detector)


def detector(ad: Interpreter, op: Any, images: Any, targets: Any = None) -> Any:
    """Run a detector with masks in its transform and backbone, and unchanged in its other parts."""
    model = copy.copy(op.__self__)
    model._modules = dict(model._modules)
    post = model.transform.postprocess
    model.transform = _Transform(ad, model.transform)
    model.transform.postprocess = post
    model.backbone = _Backbone(ad, model.backbone)
    found = model.forward(images, targets)
    return [
        {name: ad.emit(value, None, axes=_unknown(value)) for name, value in of_image.items()} for of_image in found
    ]


class _Transform(nn.Module):
    """A detector's transform that propagates the mask."""

    def __init__(self, ad: Interpreter, transform: nn.Module) -> None:
        super().__init__()
        self.ad, self.transform = ad, transform

    def forward(self, images: Any, targets: Any) -> Any:
        return self.ad.follow(self.transform, images, targets)


class _Backbone(nn.Module):
    """A backbone whose features are zero where they are deactivated."""

    def __init__(self, ad: Interpreter, backbone: nn.Module) -> None:
        super().__init__()
        self.ad, self.backbone = ad, backbone

    def forward(self, x: Tensor) -> Any:
        features = self.ad.follow(self.backbone, x)
        if isinstance(features, Tensor):
            return self._there(features)
        return type(features)((name, self._there(one)) for name, one in features.items())

    def _there(self, features: Tensor) -> Tensor:
        self.ad.complete(features)
        return self.ad.deactivate(features)


def _unknown(x: Tensor) -> Axes:
    return Axes(tuple(axis(Role.UNKNOWN, size) for size in x.shape))
