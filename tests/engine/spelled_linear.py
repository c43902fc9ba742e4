"""Steps of random networks that mix positions or channels, each in several spellings."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import MaskRule

Way = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int]  # channels, height, width

CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@dataclass
class Draw:
    """What steps are drawn from."""

    seed: int
    rule: MaskRule
    choose: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.choose = random.Random(self.seed)
        self._generator = torch.Generator().manual_seed(self.seed)

    def weights(self, *shape: int) -> Tensor:
        values = torch.randn(*shape, generator=self._generator, dtype=torch.double)
        return values / max(1, shape[1] if len(shape) > 1 else 1) ** 0.5

    def places(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator) < self.choose.choice([0.2, 0.5, 0.8])

    @property
    def zero_border(self) -> bool:
        """Windows that are spelled out read zeros."""
        return self.rule.border == "zero"


Step = Callable[[Draw, Shape], tuple[list[Way], Shape]]
"""The ways to write a step, on maps (N, C, H, W) of that shape, and the shape of the result."""


def pointwise(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, (_, height, width) = draw.choose.choice([3, 4, 6]), shape
    w, b = draw.weights(c, shape[0]), draw.weights(c)
    ways: list[Way] = [
        lambda h: F.conv2d(h, w[..., None, None], b),
        lambda h: F.linear(h.permute(0, 2, 3, 1), w, b).permute(0, 3, 1, 2),
        lambda h: (h.movedim(1, -1) @ w.T + b).movedim(-1, 1),
        lambda h: torch.einsum("nchw,kc->nkhw", h, w) + b[:, None, None],
        lambda h: F.linear(h.flatten(2).mT, w, b).mT.unflatten(2, (height, width)),
        lambda h: F.conv1d(h.flatten(2), w[..., None], b).reshape(len(h), c, height, width),
        lambda h: (torch.tensordot(h, w, dims=([1], [1])) + b).permute(0, 3, 1, 2),
        lambda h: F.conv3d(h[:, :, None], w[..., None, None, None], b).squeeze(2),
    ]
    return ways, (c, height, width)


def convolution(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, (_, height, width) = draw.choose.choice([3, 4]), shape
    w, b = draw.weights(c, shape[0], 3, 3) / 3, draw.weights(c)
    ways: list[Way] = [
        lambda h: F.conv2d(h, w, b, padding=1),
        lambda h: F.conv2d(h, w, b, padding="same"),
        lambda h: F.conv3d(h[:, :, None], w[:, :, None], b, padding=(0, 1, 1))[:, :, 0],
        lambda h: F.conv2d(h.mT, w.mT, b, padding=1).mT,
        lambda h: F.conv2d(h, w, padding=1).add_(b[:, None, None]),
    ]
    if draw.zero_border:
        ways.append(lambda h: (w.flatten(1) @ F.unfold(h, 3, padding=1) + b[:, None]).unflatten(2, (height, width)))
    return ways, (c, height, width)


def strided(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, (own, height, width) = draw.choose.choice([4, 6]), shape
    w, b = draw.weights(c, own, 2, 2) / 2, draw.weights(c)
    small = (height // 2, width // 2)
    by_cell = torch.cat([w[:, :, i, j] for i, j in CELLS], 1)
    ways: list[Way] = [lambda h: F.conv2d(h, w, b, stride=2), lambda h: F.conv2d(h.mT, w.mT, b, stride=2).mT]
    if draw.zero_border:
        ways += [
            lambda h: F.conv2d(F.pixel_unshuffle(h, 2), w.reshape(c, -1, 1, 1), b),
            lambda h: (w.flatten(1) @ F.unfold(h, 2, stride=2) + b[:, None]).unflatten(2, small),
            lambda h: F.linear(
                h.reshape(-1, own, small[0], 2, small[1], 2).permute(0, 2, 4, 1, 3, 5).flatten(3), w.flatten(1), b
            ).permute(0, 3, 1, 2),
            lambda h: F.conv2d(torch.cat([h[..., i::2, j::2] for i, j in CELLS], 1), by_cell[..., None, None], b),
            lambda h: F.linear(
                torch.cat([h.permute(0, 2, 3, 1)[:, i::2, j::2] for i, j in CELLS], -1), by_cell, b
            ).permute(0, 3, 1, 2),
            lambda h: F.linear(
                torch.stack([h[..., i::2, j::2] for i, j in CELLS], 1).flatten(1, 2).movedim(1, -1), by_cell, b
            ).movedim(-1, 1),
        ]
    return ways, (c, *small)


def gated(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    """By a linear layer, or by a convolution: of nothing at all that is dead, as no vector is."""
    c = shape[0]
    w, b = draw.weights(c, c), draw.weights(c)
    linear: list[Way] = [
        lambda h: h * F.linear(h.mean((2, 3)), w, b).sigmoid()[:, :, None, None],
        lambda h: h * F.linear(h.mean((2, 3)), w, b).sigmoid().view(-1, c, 1, 1).expand_as(h),
        lambda h: torch.einsum("nchw,nc->nchw", h, F.linear(h.mean((2, 3)), w, b).sigmoid()),
        lambda h: (h.permute(2, 3, 0, 1) * (h.mean((2, 3)) @ w.T + b).sigmoid()).permute(2, 3, 0, 1),
    ]
    convolved: list[Way] = [
        lambda h: h * F.conv2d(h.mean((2, 3), keepdim=True), w[..., None, None], b).sigmoid(),
        lambda h: h * F.conv2d(F.adaptive_avg_pool2d(h, (1, 1)), w[..., None, None], b).sigmoid().expand_as(h),
        lambda h: h * F.conv1d(h.flatten(2).mean(2, keepdim=True), w[..., None], b).sigmoid().unsqueeze(-1),
    ]
    return draw.choose.choice([linear, convolved]), shape


def attention(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    w = draw.weights(3 * c, c)

    def heads(h: Tensor) -> list[Tensor]:
        return list(F.linear(h.flatten(2).mT, w).chunk(3, -1))

    def back(tokens: Tensor) -> Tensor:
        return tokens.mT.unflatten(2, (height, width))

    def explicit(h: Tensor) -> Tensor:
        q, k, v = heads(h)
        return back((q @ k.mT / c**0.5).softmax(-1) @ v)

    def by_einsum(h: Tensor) -> Tensor:
        q, k, v = F.conv2d(h, w[..., None, None]).flatten(2).chunk(3, 1)
        return torch.einsum("nqk,nck->ncq", torch.einsum("ncq,nck->nqk", q, k / c**0.5).softmax(2), v).reshape(h.shape)

    def of_three(h: Tensor) -> Tensor:
        q, k, v = F.linear(h.flatten(2).mT, w).unflatten(-1, (3, c)).unbind(2)
        return back(F.scaled_dot_product_attention(q, k, v))

    def by_bmm(h: Tensor) -> Tensor:
        q, k, v = heads(h)
        return back(torch.bmm(F.softmax(torch.bmm(q, k.transpose(1, 2)) * c**-0.5, dim=-1), v))

    return [lambda h: back(F.scaled_dot_product_attention(*heads(h))), explicit, by_einsum, of_three, by_bmm], shape


def normalized(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c = shape[0]
    scale, shift = draw.weights(c), draw.weights(c)
    ways: list[Way] = [
        lambda h: F.layer_norm(h.permute(0, 2, 3, 1), [c], scale, shift).permute(0, 3, 1, 2),
        lambda h: F.layer_norm(h.flatten(2).mT, [c], scale, shift).mT.reshape(h.shape),
        lambda h: (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        * scale[:, None, None] + shift[:, None, None],
        lambda h: (lambda d: d * (d.square().mean(1, keepdim=True) + 1e-5).rsqrt())(h - h.mean(1, keepdim=True))
        * scale[:, None, None] + shift[:, None, None],
    ]  # fmt: skip
    return ways, shape


def pooled(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    small = (height // 2, width // 2)

    def cells(h: Tensor) -> Tensor:
        return h.reshape(-1, c, small[0], 2, small[1], 2)

    largest: list[Way] = [
        lambda h: F.max_pool2d(h, 2),
        lambda h: F.adaptive_max_pool2d(h, small),
        lambda h: F.max_pool2d(h.mT, 2, 2).mT,
        lambda h: F.max_pool3d(h[:, :, None], (1, 2, 2))[:, :, 0],
    ]
    mean: list[Way] = [
        lambda h: F.avg_pool2d(h, 2),
        lambda h: F.adaptive_avg_pool2d(h, small),
        lambda h: F.avg_pool3d(h[:, :, None], (1, 2, 2))[:, :, 0],
    ]
    if draw.zero_border:
        largest += [
            lambda h: cells(h).amax((3, 5)),
            lambda h: F.unfold(h, 2, stride=2).reshape(len(h), c, 4, *small).amax(2),
        ]
        mean.append(lambda h: cells(h).mean((3, 5)))
    return draw.choose.choice([largest, mean]), (c, *small)


def head(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    w, b, size = draw.weights(5, shape[0]), draw.weights(5), shape[1:]
    ways: list[Way] = [
        lambda h: F.linear(h.mean((2, 3)), w, b),
        lambda h: F.linear(F.adaptive_avg_pool2d(h, 1).flatten(1), w, b),
        lambda h: h.flatten(2).mean(-1) @ w.T + b,
        lambda h: torch.einsum("nc,kc->nk", F.avg_pool2d(h, size)[:, :, 0, 0], w) + b,
        lambda h: F.linear(h.permute(2, 3, 0, 1).flatten(0, 1).mean(0), w, b),
    ]
    return ways, (5, 1, 1)
