"""A quantity over the share of an input that is present."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """A quantity measured at growing shares of the input.

    Attributes
    ----------
    sizes : Tensor
        float64, shape (K,), growing: share of the positions, 0 to 1.
    values : Tensor
        What was measured there, float64, shape (K,).
    """

    sizes: Tensor
    values: Tensor

    @property
    def area(self) -> float:
        """Area below the curve by the trapezoidal rule, over the sizes that were measured.

        Divided by the range of the sizes: the mean height, in the unit of the values.
        """
        if len(self.sizes) < 2:
            raise ValueError("the area below a curve needs two sizes at least")
        return float(torch.trapezoid(self.values, self.sizes) / (self.sizes[-1] - self.sizes[0]))

    def at(self, size: float) -> float:
        """The value at a size, on the straight line between the two measured next to it.

        Raises
        ------
        ValueError
            If `size` lies outside of what was measured.
        """
        low, high = float(self.sizes[0]), float(self.sizes[-1])
        if not low <= size <= high:
            raise ValueError(f"size {size} is outside of the measured sizes, {low:g} to {high:g}")
        right = min(
            int(torch.searchsorted(self.sizes, torch.tensor(size, dtype=self.sizes.dtype, device=self.sizes.device))),
            len(self.sizes) - 1,
        )
        left = max(right - 1, 0)
        span = float(self.sizes[right] - self.sizes[left])
        weight = (size - float(self.sizes[left])) / span if span else 1.0
        return float(self.values[left]) * (1 - weight) + float(self.values[right]) * weight
