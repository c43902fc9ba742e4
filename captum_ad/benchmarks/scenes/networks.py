"""Five small classifiers of scenes, of different kinds; none has more than 300,000 parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_ad._common.errors import UnknownNameError
from captum_ad.benchmarks.scenes.looks import CLASSES
from captum_ad.benchmarks.scenes.pieces import SIZE


def network(name: str) -> nn.Module:
    """An untrained network, in eval mode; its input is normalized scenes, shape (N, 3, 64, 64).

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.

    Raises
    ------
    UnknownNameError
        If there is no such network.

    Examples
    --------
    >>> network("plain")(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 12])
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)
    return NETWORKS[name]().eval()


def _plain() -> nn.Module:
    """Convolutions, ReLU and max pooling without normalization, and two linear layers, as in VGG."""
    layers: list[nn.Module] = []
    widths = (3, 16, 32, 64, 96)
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    side = SIZE // 2 ** (len(widths) - 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 64), nn.ReLU(), nn.Linear(64, CLASSES))


class _Residual(nn.Module):
    """Two convolutions with batch norms and a skip connection, as in ResNet."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.around = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.around(x))


def _residual() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        _Residual(24, 24, 1),
        _Residual(24, 48, 2),
        _Residual(48, 48, 1),
        _Residual(48, 80, 2),
        *_pooled(80),
    )


class _Gate(nn.Module):
    """Squeeze and excitation: a gate for each channel, computed from the averages of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // 4, 1)
        self.excite = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.excite(functional.relu(self.squeeze(gate))))


class _Inverted(nn.Module):
    """Expansion, depthwise convolution, gate, and projection, as in MobileNetV3."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        width = 4 * before
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.Hardswish(),
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Hardswish(),
            _Gate(width),
            nn.Conv2d(width, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skips = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x)
        return x + output if self.skips else output


def _mobile() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        _Inverted(16, 24, 2),
        _Inverted(24, 24, 1),
        _Inverted(24, 48, 2),
        _Inverted(48, 48, 1),
        _Inverted(48, 64, 1),
        *_pooled(64),
    )


class _ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of a map, at each position."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Next(nn.Module):
    """A 7×7 depthwise convolution, a layer norm and two linear layers, as in ConvNeXt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + mixed.permute(0, 3, 1, 2)


def _convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 40, 4, 4),
        _ChannelNorm(40),
        _Next(40),
        _Next(40),
        _ChannelNorm(40),
        nn.Conv2d(40, 80, 2, 2),
        _Next(80),
        _Next(80),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(80),
        nn.Linear(80, CLASSES),
    )


class _Block(nn.Module):
    """Attention and two linear layers, each after a layer norm, as in ViT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mix = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        split = self.qkv(self.before_attention(x)).reshape(count, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, tokens, width)
        x = x + self.out(attended)
        mixed: Tensor = self.mix(self.before_mix(x))
        return x + mixed


class _Attention(nn.Module):
    """A vision transformer of 8×8 patches with a class token."""

    def __init__(self, width: int = 80, heads: int = 4, depth: int = 4, patch: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, (SIZE // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.place
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def _pooled(width: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"plain": _plain, "residual": _residual, "mobile": _mobile, "convnext": _convnext, "attention": _Attention}
)
"""Functions that make an untrained network, by kind."""
