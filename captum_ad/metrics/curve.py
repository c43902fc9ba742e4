"""A quantity as a function of the fraction of an input that is present."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """A quantity measured at increasing fractions of the input.

    Attributes
    ----------
    sizes : Tensor
        Fractions of the positions, 0 to 1, increasing, float64, shape (K,).
    values : Tensor
        The measured values, float64, shape (K,).
    """

    sizes: Tensor
    values: Tensor

    @property
    def area(self) -> float:
        """Area under the curve over the measured sizes, by the trapezoidal rule.

        It is divided by the range of the sizes, so it is the mean height, in units of the values.
        """
        if len(self.sizes) < 2:
            raise ValueError("the area under a curve needs at least two sizes")
        return float(torch.trapezoid(self.values, self.sizes) / (self.sizes[-1] - self.sizes[0]))

    def at(self, size: float) -> float:
        """The value at a size, by linear interpolation.

        Raises
        ------
        ValueError
            If `size` is outside the measured range.
        """
        low, high = float(self.sizes[0]), float(self.sizes[-1])
        if not low <= size <= high:
            raise ValueError(f"size {size} is outside the measured range, {low:g} to {high:g}")
        right = min(
            int(torch.searchsorted(self.sizes, torch.tensor(size, dtype=self.sizes.dtype, device=self.sizes.device))),
            len(self.sizes) - 1,
        )
        left = max(right - 1, 0)
        span = float(self.sizes[right] - self.sizes[left])
        weight = (size - float(self.sizes[left])) / span if span else 1.0
        return float(self.values[left]) * (1 - weight) + float(self.values[right]) * weight
