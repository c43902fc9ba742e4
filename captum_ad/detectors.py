"""torchvision's detectors under AD: what is missing is missing from the backbone's features.

The mask is carried through resizing and backbone. What comes after (proposals, heads, top k, suppression of overlaps,
pooling of regions) chooses among what is there, so it runs as it is on those features, zero where they are
deactivated. Registered for torchvision's own types; a detector of yours with another ``forward`` takes a rule of yours.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

from captum_ad.engine import FeatureMask, Interpreter, register_rule
from captum_ad.engine.axes import Axes, Role, axis
from captum_ad.engine.registry import has_rule_for

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
    model.transform = copy.copy(model.transform)
    model.transform.forward = _Transform(ad, model.transform)
    model.backbone = _Backbone(ad, model.backbone)
    found = model.forward(images, targets)
    return [
        {name: ad.emit(value, None, axes=_unknown(value)) for name, value in of_image.items()} for of_image in found
    ]


class _Transform:
    """What ``GeneralizedRCNNTransform`` does, each step followed but for the copy into one batch."""

    def __init__(self, ad: Interpreter, transform: Any) -> None:
        self.ad, self.transform = ad, transform

    def __call__(self, images: Any, targets: Any) -> tuple[ImageList, Any]:
        each: list[Tensor] = self.ad.follow(list, images)
        resized = [self.ad.follow(self._resized, image) for image in each]
        self.ad.complete(*resized)
        batch = self._batch(resized)
        masks: list[FeatureMask | None] = [self.ad.mask(image) for image in resized]
        kept = [torch.ones_like(image, dtype=torch.bool) if m is None else m.kept for image, m in zip(resized, masks)]
        there = [torch.ones_like(one, dtype=torch.bool) if m is None else m.everywhere for one, m in zip(kept, masks)]
        mask = FeatureMask(*(self._batch([p.expand_as(x) for p, x in zip(parts, resized)]) for parts in (kept, there)))
        roles = (Role.SAMPLE, Role.CHANNEL, Role.POSITION, Role.POSITION)
        axes = Axes(tuple(axis(role, size) for role, size in zip(roles, batch.shape)))
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in resized]
        return ImageList(self.ad.emit(batch, mask, axes=axes), sizes), targets

    def _resized(self, image: Tensor) -> Any:
        return self.transform.resize(self.transform.normalize(image), None)[0]

    def _batch(self, images: list[Tensor]) -> Tensor:
        """One tensor of all, with the padding that the detector wants; of masks, False there: it holds no features."""
        batch: Tensor = self.transform.batch_images(images, size_divisible=self.transform.size_divisible)
        return batch


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
