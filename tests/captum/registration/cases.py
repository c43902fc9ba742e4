"""A network and the quadrants of its inputs, for what attributors do with an ADForward."""

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import FeatureAblation, KernelShap, Lime, LimeBase, Occlusion, ShapleyValues, ShapleyValueSampling
from torch import Tensor, nn

QUADRANTS = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 4),
    ).eval()
    model[-1].weight.data *= 20  # outputs that Captum's Lasso (alpha 0.01) does not shrink to nothing
    return model


def sparse_inputs() -> Tensor:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x[:, :, 2:5, 1:6] = 0  # zeros are values like any other
    return x


def lime_base(forward: Callable[..., Tensor]) -> LimeBase:
    from captum._utils.models.linear_model import SkLearnLinearRegression

    def sample(original: Tensor, **kwargs: Any) -> Tensor:
        return torch.randint(0, 2, (1, 4))

    def painted(sample: Tensor, original: Tensor, **kwargs: Any) -> Tensor:
        return original * sample[0][QUADRANTS].to(original.dtype)

    return LimeBase(forward, SkLearnLinearRegression(), lambda *_, **__: 1.0, sample, True, painted, None)


CASES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Occlusion": (Occlusion, {"sliding_window_shapes": (3, 3, 3), "strides": (3, 2, 2)}),
    "Occlusion of one channel": (Occlusion, {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4)}),
    "FeatureAblation": (FeatureAblation, {"feature_mask": QUADRANTS}),
    "ShapleyValueSampling": (ShapleyValueSampling, {"feature_mask": QUADRANTS, "n_samples": 5}),
    "ShapleyValues": (ShapleyValues, {"feature_mask": QUADRANTS}),
    "KernelShap": (KernelShap, {"feature_mask": QUADRANTS, "n_samples": 20}),
    "Lime": (Lime, {"feature_mask": QUADRANTS, "n_samples": 20}),
    "LimeBase": (lime_base, {"n_samples": 20}),
}
