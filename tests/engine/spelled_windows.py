"""Windows that are spelled out: functions of a network, which holds ``kernel`` and ``bias``, and of four channels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Spelling = Callable[[Any, Tensor], Tensor]

CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def _by_cell(kernel: Tensor) -> Tensor:
    """A 2×2 kernel for the slices at ``CELLS``, one after the other."""
    return torch.cat([kernel[:, :, i, j] for i, j in CELLS], 1)


def _nested(h: Tensor) -> Tensor:
    rows = torch.cat([h[:, :, 0::2], h[:, :, 1::2]], 1)
    return torch.cat([rows[..., ::2], rows[..., 1::2]], 1)


STRIDED: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel, net.bias, stride=2),
    lambda net, h: F.conv2d(F.pixel_unshuffle(h, 2), net.kernel.reshape(6, 16, 1, 1), net.bias),
    lambda net, h: F.linear(
        h.reshape(-1, 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).flatten(3), net.kernel.flatten(1), net.bias
    ).permute(0, 3, 1, 2),
    lambda net, h: (net.kernel.flatten(1) @ F.unfold(h, 2, stride=2) + net.bias[:, None]).unflatten(2, (4, 4)),
    lambda net, h: (
        torch.einsum("nchiwj,kcij->nkhw", h.reshape(-1, 4, 4, 2, 4, 2), net.kernel) + net.bias[:, None, None]
    ),
    lambda net, h: F.linear(
        torch.cat([h.permute(0, 2, 3, 1)[:, i::2, j::2] for i, j in CELLS], -1), _by_cell(net.kernel), net.bias
    ).permute(0, 3, 1, 2),
    lambda net, h: F.conv2d(
        torch.cat([h[..., i::2, j::2] for i, j in CELLS], 1), _by_cell(net.kernel)[..., None, None], net.bias
    ),
    lambda net, h: F.conv2d(
        torch.cat([h[:, :, i:][:, :, ::2][..., j::2].relu() for i, j in CELLS], 1),
        _by_cell(net.kernel)[..., None, None],
        net.bias,
    ),
    lambda net, h: F.linear(
        torch.cat([h[..., i::2, j::2].flatten(2) for i, j in CELLS], 1).mT, _by_cell(net.kernel), net.bias
    ).mT.unflatten(2, (4, 4)),
    lambda net, h: F.conv2d(_nested(h), net.kernel.permute(0, 3, 2, 1).reshape(6, 16, 1, 1), net.bias),
    lambda net, h: F.linear(
        torch.stack([h[..., i::2, j::2] for i, j in CELLS], -1).permute(0, 2, 3, 4, 1).flatten(3),
        _by_cell(net.kernel),
        net.bias,
    ).permute(0, 3, 1, 2),
    lambda net, h: (
        torch.einsum("anchw,kca->nkhw", torch.stack([h[..., i::2, j::2] for i, j in CELLS]), net.kernel.flatten(2))
        + net.bias[:, None, None]
    ),
]
HALVES: list[Spelling] = [
    lambda net, h: F.linear(h.reshape(-1, 4, 8, 2, 4).permute(0, 2, 4, 3, 1).flatten(3), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(torch.cat(h.permute(0, 2, 3, 1).chunk(2, 2), -1), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(torch.cat(h.permute(0, 2, 3, 1).split(4, dim=2), -1), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(
        torch.cat([h.narrow(3, 0, 4), h.narrow(3, start=4, length=4)], 1).permute(0, 2, 3, 1),
        net.kernel.flatten(1)[:, :8],
    ),
]
OVERLAPPING: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel, net.bias),
    lambda net, h: (net.kernel.flatten(1) @ F.unfold(h, 2) + net.bias[:, None]).unflatten(2, (7, 7)),
    lambda net, h: F.linear(F.unfold(h, 2).mT, net.kernel.flatten(1), net.bias).mT.unflatten(2, (7, 7)),
]
GROUPED: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel[:, :2], net.bias, stride=2, groups=2),
    lambda net, h: F.conv2d(F.pixel_unshuffle(h, 2), net.kernel[:, :2].reshape(6, 8, 1, 1), net.bias, groups=2),
]
SLID: list[Spelling] = [
    OVERLAPPING[0],
    lambda net, h: F.conv2d(
        torch.cat([h[..., i : i + 7, j : j + 7] for i, j in CELLS], 1), _by_cell(net.kernel)[..., None, None], net.bias
    ),
]
ZERO_BORDERS = {"strided": STRIDED, "overlapping": OVERLAPPING, "grouped": GROUPED, "halves": HALVES, "slid": SLID}
"""Windows that are spelled out read zeros where nothing is kept, whatever the knob ``border`` says."""
