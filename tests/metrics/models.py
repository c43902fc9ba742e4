"""Classifiers whose answer is written into their weights, small random networks, and what goes through a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ONES = torch.ones(1, 1, 2, 2)
DESCENDING = torch.tensor([[4.0, 3.0], [2.0, 1.0]])
"""A 2×2 image, and an attribution that ranks its pixels row by row."""


def linear(weights: Tensor, bias: Sequence[float]) -> nn.Module:
    """Logits ``<weights[k], x> + bias[k]``. What is missing is zero to it, under AD as under a baseline of zero."""
    layer = nn.Linear(weights[0].numel(), len(weights)).to(weights.dtype)
    with torch.no_grad():
        layer.weight.copy_(weights.flatten(1))
        layer.bias.copy_(torch.tensor(bias))
    return nn.Sequential(nn.Flatten(), layer).eval()


def one_pixel(place: tuple[int, ...], shape: tuple[int, ...] = (1, 4, 4)) -> nn.Module:
    """Class 1 if four times the value at `place` is above 1: logits (1, 4 x)."""
    weights = torch.zeros(2, *shape)
    weights[(1, *place)] = 4
    return linear(weights, (1.0, 0.0))


def two_patches() -> nn.Module:
    """Class 1 if two corners of a 4×4 image are bright, the AND: logits (0, 4 (a + b) - 6), a and b their means."""
    weights = torch.zeros(2, 1, 4, 4)
    weights[1, 0, :2, :2] = weights[1, 0, 2:, 2:] = 1
    return linear(weights, (0.0, -6.0))


CORNERS = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2], [2, 2, 1, 1], [2, 2, 1, 1]])
"""The two patches, 0 and 1, and the rest."""


def border_color() -> nn.Module:
    """The class is the color of a 6×6 image's border of 20 pixels: logits six times its mean red, green and blue."""
    weights = torch.zeros(3, 3, 6, 6)
    for color in range(3):
        weights[color, color] = 6 / 20
        weights[color, color, 1:5, 1:5] = 0
    return linear(weights, (0.0, 0.0, 0.0))


def seesaw(*weights: float) -> nn.Module:
    """Pixels that speak for class 1 and against it, on a 2×2 image: logits (1, <weights, x>)."""
    return linear(torch.stack([torch.zeros(1, 2, 2), torch.tensor(weights).reshape(1, 2, 2)]), (1.0, 0.0))


def sigmoid(margin: float) -> float:
    """The softmax of two classes whose logits differ by so much."""
    return 1 / (1 + math.exp(-margin))


def small_net(seed: int, shape: tuple[int, ...] = (2, 6, 6), classes: int = 3) -> nn.Module:
    """Convolution, norm, activation, pooling, convolution in double precision; noise gets all classes about equally."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 2](4)
        pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[len(shape) - 2](2)
        body = nn.Sequential(
            conv(shape[0], 4, 3, padding=1), norm, nn.SiLU(), pool, conv(4, 5, 2, padding=1), nn.Flatten()
        )
        noise = torch.randn(64, *shape, dtype=torch.float64)
        body.double()(noise)  # in train mode: the norm gets statistics of its own
        with torch.no_grad():
            features = body.eval()(noise)
            head = nn.Linear(features.shape[1], classes).double()
            logits = head(features)
            head.weight *= 2 / logits.std()
            head.bias -= head(features).mean(0)
    return nn.Sequential(*body, head).eval()


def noise(seed: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """Normally distributed numbers of their own generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def answer(model: nn.Module, x: Tensor) -> int:
    """What the model calls one input."""
    with torch.no_grad():
        return int(model(x).argmax())


@contextmanager
def batches(model: nn.Module) -> Iterator[list[int]]:
    """The batch size of every forward of a model while the block runs."""
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: sizes.append(int(inputs[0].shape[0])))
    try:
        yield sizes
    finally:
        handle.remove()


@contextmanager
def untouched(model: nn.Module, *tensors: Tensor) -> Iterator[None]:
    """Nothing of the model or the tensors is another thing after the block, and no gradient reached them."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copies = [tensor.detach().clone() for tensor in tensors]
    modes = [module.training for module in model.modules()]
    yield
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [module.training for module in model.modules()] == modes
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(tensor.detach(), copy) for tensor, copy in zip(tensors, copies))
    assert all(leaf.grad is None for leaf in (*model.parameters(), *tensors))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Odd(nn.Module):
    """Has a layer that it does not run, one that returns two tensors, and one that returns no map."""

    def __init__(self) -> None:
        super().__init__()
        self.first_layer, self.unused, self.pair = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), Pair()
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.pair(self.first_layer(x))[0].mean((2, 3)))
        return found
