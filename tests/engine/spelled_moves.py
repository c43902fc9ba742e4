"""Steps of random networks that move, choose, join or change values, each in several spellings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.engine.spelled_linear import Draw, Shape, Way, pointwise, pooled


def activation(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    kinds: list[list[Way]] = [
        [
            F.relu,
            lambda h: h.clamp(min=0),
            lambda h: torch.maximum(h, torch.zeros_like(h)),
            lambda h: h.clone().relu_(),
        ],
        [torch.sigmoid, lambda h: 1 / (1 + (-h).exp()), lambda h: (h / 2).tanh() / 2 + 0.5],
        [F.silu, lambda h: h * h.sigmoid(), lambda h: h / (1 + torch.exp(-h))],
        [lambda h: h.abs() + 1, lambda h: torch.sqrt(h * h) + 1, lambda h: h.relu() + (-h).relu() + 1],
        [lambda h: h**2, torch.square, lambda h: h * h, lambda h: h.clone().mul_(h)],
    ]
    return draw.choose.choice(kinds), shape


def scaled(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    """As batch normalization in eval mode does."""
    c = shape[0]
    mean, scale, shift = draw.weights(c), draw.weights(c), draw.weights(c)
    ones = torch.ones(c).double()
    ways: list[Way] = [
        lambda h: F.batch_norm(h, mean, ones, scale, shift, eps=0.0),
        lambda h: (h - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None],
        lambda h: ((h.movedim(1, -1) - mean) * scale + shift).movedim(-1, 1),
        lambda h: torch.addcmul((shift - mean * scale)[:, None, None], h, scale[:, None, None]),
    ]
    return ways, shape


def residual(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    other = draw.choose.choice([
        lambda h: h.flip(-1), lambda h: h.roll(1, 2), lambda h: F.max_pool2d(h, 3, 1, 1), lambda h: h.sin()
    ])  # fmt: skip
    ways: list[Way] = [
        lambda h: h + other(h),
        lambda h: torch.add(h, other(h)),
        lambda h: torch.stack([h, other(h)]).sum(0),
        lambda h: torch.stack([h, other(h)], 2).sum(2),
        lambda h: h.clone().add_(other(h)),
        lambda h: h - (-other(h)),
        lambda h: sum([h, other(h)]),
    ]
    return ways, shape


def moved(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    width = shape[2]
    back, shifted = torch.arange(width - 1, -1, -1), (torch.arange(width) - 1) % width
    flipped: list[Way] = [
        lambda h: h.flip(-1),
        lambda h: h[..., back],
        lambda h: h.index_select(3, back),
        lambda h: h.mT.flip(2).mT,
    ]
    rolled: list[Way] = [
        lambda h: h.roll(1, 3),
        lambda h: torch.cat([h[..., -1:], h[..., :-1]], 3),
        lambda h: h[..., shifted],
    ]
    turned: list[Way] = [
        lambda h: h.mT,
        lambda h: h.transpose(2, 3),
        lambda h: torch.einsum("nchw->ncwh", h),
        lambda h: h.permute(0, 1, 3, 2).contiguous(),
    ]
    which = draw.choose.randrange(3)
    return [flipped, rolled, turned][which], (shape[0], shape[2], shape[1]) if which == 2 else shape


def centered(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    kinds: list[list[Way]] = [
        [
            lambda h: h - h.mean((2, 3), keepdim=True),
            lambda h: h - h.mean((2, 3))[:, :, None, None],
            lambda h: h - h.flatten(2).mean(-1).view(len(h), c, 1, 1).expand_as(h),
            lambda h: (h.permute(2, 3, 0, 1) - h.mean((2, 3))).permute(2, 3, 0, 1),
            lambda h: h - F.adaptive_avg_pool2d(h, 1),
            lambda h: torch.stack([one - one.mean((1, 2), keepdim=True) for one in h]),
            lambda h: h - h.mean((2, 3), keepdim=True).repeat(1, 1, height, width),
        ],
        [
            lambda h: h - h.mean(3, keepdim=True),
            lambda h: h - h.mean(-1).unsqueeze(-1),
            lambda h: (lambda rows: rows - rows.mean(-1, keepdim=True))(h.flatten(0, 1)).unflatten(0, (-1, c)),
        ],
    ]  # fmt: skip
    return draw.choose.choice(kinds), shape


def joined(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    if c > 4:
        return pointwise(draw, shape)

    def written(h: Tensor) -> Tensor:
        out = h.new_zeros(len(h), 2 * c, height, width)
        out[:, :c] = h
        out[:, c:] = h.relu()
        return out

    ways: list[Way] = [
        lambda h: torch.cat([h, h.relu()], 1),
        lambda h: torch.hstack([h, h.relu()]),
        lambda h: torch.stack([h, h.relu()], 1).flatten(1, 2),
        lambda h: torch.cat([h.movedim(1, -1), h.movedim(1, -1).relu()], -1).movedim(-1, 1),
        written,
    ]
    return ways, (2 * c, height, width)


def zeroed(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    held = draw.places(*shape[1:])
    ways: list[Way] = [
        lambda h: h.masked_fill(held, 0),
        lambda h: torch.where(held, 0, h),
        lambda h: h * ~held,
        lambda h: (~held).double() * h,
        lambda h: h.clone().masked_fill_(held, 0),
    ]
    return ways, shape


def resized(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    if height > 4:
        return pooled(draw, shape)
    ways: list[Way] = [
        lambda h: F.interpolate(h, scale_factor=2, mode="nearest"),
        lambda h: h.repeat_interleave(2, 2).repeat_interleave(2, 3),
        lambda h: h[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(-1, c, 2 * height, 2 * width),
        lambda h: h[..., torch.arange(2 * height)[:, None] // 2, torch.arange(2 * width) // 2],
    ]
    return ways, (c, 2 * height, 2 * width)


def shuffled(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    c, height, width = shape
    if c % 2:
        return pointwise(draw, shape)
    ways: list[Way] = [
        lambda h: F.channel_shuffle(h, 2),
        lambda h: h.reshape(-1, 2, c // 2, height, width).transpose(1, 2).flatten(1, 2),
        lambda h: h[:, torch.arange(c).reshape(2, -1).T.flatten()],
        lambda h: torch.stack(h.chunk(2, 1), 2).flatten(1, 2),
    ]
    return ways, shape


def windowed(draw: Draw, shape: Shape) -> tuple[list[Way], Shape]:
    """The largest in windows that are folded into the batch."""
    c, height, width = shape
    if height % 4 or width % 4:
        return activation(draw, shape)

    def folded(h: Tensor) -> Tensor:
        parts = h.reshape(-1, c, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        parts = parts - parts.mean((2, 3), keepdim=True)
        return parts.reshape(-1, height // 4, width // 4, c, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(h.shape)

    def split(h: Tensor) -> Tensor:
        cells = h.unflatten(3, (-1, 4)).unflatten(2, (-1, 4))
        return (cells - cells.mean((3, 5), keepdim=True)).flatten(4).flatten(2, 3)

    return [folded, split], shape
