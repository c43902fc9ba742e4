"""Windows that slide along one dimension, as offsets: faster than the 0/1 matrices of the position function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Taps(NamedTuple):
    """Windows that slide along one dimension: output position o reads the input positions o · stride + offset."""

    outputs: int
    stride: int
    offsets: Sequence[int]

    def matrix(self, inputs: int, device: torch.device) -> Tensor:
        """The 0/1 matrix for :class:`Windows`, shape (outputs, inputs): 1 where the output reads the input."""
        ahead = torch.arange(inputs) - self.stride * torch.arange(self.outputs)[:, None]
        return torch.isin(ahead, torch.tensor(list(self.offsets))).to(device, torch.float32)

    def any(self, values: Tensor, dim: int) -> Tensor:
        """For each window, whether any value in it is True; `values` are booleans stored as uint8."""
        span, (low, high) = (self.outputs - 1) * self.stride + 1, (min(self.offsets), max(self.offsets))
        before, after = max(0, -low), max(0, span + high - values.shape[dim])
        padded = F.pad(values, [0, 0] * (values.dim() - 1 - dim) + [before, after]) if before or after else values
        index = [slice(None)] * dim
        found = [
            padded[(*index, slice(start, start + span, self.stride))] for start in (d + before for d in self.offsets)
        ]
        return reduce(torch.bitwise_or, found)

    def read_by(self, values: Tensor, dim: int, inputs: int) -> Tensor:
        """For each input position, whether the value of any window that reads it is True; booleans stored as uint8."""
        others, before = [0, 0] * (values.dim() - 1 - dim), max(0, *self.offsets)
        spread = F.pad(values.unsqueeze(dim + 1), [*others, 0, self.stride - 1]).flatten(dim, dim + 1)
        after = max(0, inputs - min(self.offsets) - spread.shape[dim])
        padded = F.pad(spread, [*others, before, after])
        return reduce(torch.bitwise_or, [padded.narrow(dim, before - offset, inputs) for offset in self.offsets])
