"""A maximum pool and what puts its values back, as torch computes them and as the oracle does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.operations import Pool, _same_channel
from tests.oracle import Knobs, Map, Operation, Window, attribute, filled_border


class PoolAndBack(Operation):
    """The maximum of each window where it was, and zeros elsewhere."""

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        values, places = F.max_pool2d(x, self.kernel, self.stride, self.padding, return_indices=True)
        return F.max_unpool2d(values, places, self.kernel, self.stride, self.padding, x.shape[2:])

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        pooled = Pool(nn.MaxPool2d(self.kernel, self.stride, self.padding), average=False).masked(knobs, x)
        read = filled_border(x, [self.kernel - 1] * 2, knobs)
        _, places = F.max_pool2d(read, self.kernel, self.stride, self.padding, return_indices=True)
        values = torch.zeros_like(x.values).flatten(2)
        for n, c, *place in pooled.kept:
            values[n, c, places[(n, c, *place)]] = pooled.values[(n, c, *place)]
        settings = ((size,) * 2 for size in (self.kernel, self.stride, self.padding, 1))
        window = Window.transposed(pooled.values.shape[2:], *settings)
        return attribute(pooled, values.reshape(x.values.shape), window, _same_channel, knobs)
