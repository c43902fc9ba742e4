"""torchvision's detectors under AD: what is missing is missing from the backbone's features.

The mask is carried through resizing and backbone. What comes after (proposals, heads, top k, suppression of overlaps,
pooling of regions) chooses among what is there, so it runs as it is on those features, zero where they are
deactivated. Registered for torchvision's own types; a detector of yours with another ``forward`` takes a rule of yours.
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
    """Rules for those of torchvision's detectors that a model has, where nobody has registered others."""
    for kind in KINDS:
        if any(isinstance(module, kind) for module in model.modules()) and not has_rule_for(kind):
            register_rule(kind)(detector)


def detector(ad: Interpreter, op: Any, images: Any, targets: Any = None) -> Any:
    """A detector whose transform and backbone carry the mask, and whose other parts know nothing of it."""
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
    """A transform through which the mask is carried."""

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
