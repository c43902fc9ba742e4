"""The order in which an attribution reveals an input's positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ad._scoring import one_input

SCAN_STEPS = 100
"""Default number of steps of a scan, with one percent of the positions each."""


@dataclass(frozen=True)
class Ranking:
    """Nested sets of positions, from none to all, highest attribution first.

    Attributes
    ----------
    steps : Tensor
        The step, from 0, at which a position is added, int64, shape (*spatial).
    sizes : Tensor
        Fraction of the positions present after 0, 1, 2 … steps, float64, shape (steps + 1,).
    """

    steps: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.sizes) - 1

    def prefixes(self, counts: Tensor) -> Tensor:
        """Masks of the positions present after given numbers of steps.

        Parameters
        ----------
        counts : Tensor
            Numbers of steps, int64, shape (B,), from 0 to the number of all steps.

        Returns
        -------
        Tensor
            bool, shape (B, *spatial), True = present.
        """
        return self.steps < counts.reshape(-1, *(1,) * self.steps.dim())


def ranked(attribution: Tensor, x: Tensor, *, feature_mask: Tensor | None = None, step: int | None = None) -> Ranking:
    """Rank the positions of an input by an attribution.

    A position's attribution is the sum over its channels; a group's is the mean over its positions.
    Ties between positions are broken in row-major order, ties between groups by the smaller label.

    Parameters
    ----------
    attribution : Tensor
        Shape of `x`, or with one channel, or without the batch dimension.
    x : Tensor
        One input, shape (1, C, *spatial).
    feature_mask : Tensor, optional
        Integer labels of groups that are added as a whole, shape (*spatial) or with leading dimensions of 1.
    step : int, optional
        Positions (or groups) added per step. Default: one group, or one percent of the positions.

    Returns
    -------
    Ranking
        On the device of `x`.

    Raises
    ------
    ValueError
        If a shape does not fit, `step` is not a positive integer, or the attribution contains NaN or Inf.
    """
    one_input(x)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 1):
        raise ValueError(f"step must be a positive integer, got {step!r}")
    values = values_of_positions(attribution, x)
    if feature_mask is None:
        unit_of_position, units = torch.arange(len(values), device=x.device), len(values)
        step = step or max(1, -(-units // SCAN_STEPS))
    else:
        labels = labels_of_positions(feature_mask, x)
        unit_of_position, counts = torch.unique(labels, return_inverse=True, return_counts=True)[1:]
        units = len(counts)
        means = values.new_zeros(units).index_add_(0, unit_of_position, values) / counts
        least, most = (
            means.scatter_reduce(0, unit_of_position, values, how, include_self=False) for how in ("amin", "amax")
        )
        values = means.clamp(least, most)  # the mean of equal values must be exactly that value
        step = step or 1
    order = values.argsort(descending=True, stable=True)
    step_of_unit = torch.empty_like(order)
    step_of_unit[order] = torch.arange(units, device=x.device) // step
    steps = step_of_unit[unit_of_position]
    appearing = torch.bincount(steps, minlength=-(-units // step))
    sizes = torch.cat([appearing.new_zeros(1), appearing.cumsum(0)]).double() / len(steps)
    return Ranking(steps.reshape(x.shape[2:]), sizes)


def values_of_positions(attribution: Tensor, x: Tensor) -> Tensor:
    """The attribution summed over channels, float64, shape (positions)."""
    if not isinstance(attribution, Tensor):
        raise TypeError(f"the attribution must be a Tensor, got {type(attribution).__name__}")
    spatial = tuple(x.shape[2:])
    fitting = [tuple(x.shape), (1, 1, *spatial), tuple(x.shape[1:]), (1, *spatial), spatial]
    if tuple(attribution.shape) not in fitting:
        raise ValueError(
            f"the attribution has shape {tuple(attribution.shape)}, expected that of the input, {tuple(x.shape)}, or "
            f"{(1, 1, *spatial)}, or either without the batch dimension"
        )
    values = attribution.detach().to(x.device).double().reshape(-1, spatial_size(x)).sum(0)
    if not bool(values.isfinite().all()):
        raise ValueError("the attribution contains NaN or Inf, which cannot be ranked: check the attributor's input")
    return values


def labels_of_positions(feature_mask: Tensor, x: Tensor) -> Tensor:
    """Integer labels, shape (positions)."""
    if not isinstance(feature_mask, Tensor):
        raise TypeError(f"the feature mask must be a Tensor, got {type(feature_mask).__name__}")
    spatial = tuple(x.shape[2:])
    shape = tuple(feature_mask.shape)
    if shape[len(shape) - len(spatial) :] != spatial or any(n != 1 for n in shape[: len(shape) - len(spatial)]):
        raise ValueError(f"the feature mask has shape {shape}, expected {spatial} or (1, 1, {spatial})")
    if feature_mask.is_floating_point() or feature_mask.dtype == torch.bool:
        raise ValueError(f"the feature mask is {feature_mask.dtype}, expected integer labels")
    return feature_mask.to(x.device).flatten()


def spatial_size(x: Tensor) -> int:
    """The number of positions of an input of shape (N, C, *spatial)."""
    return x[0, 0].numel()
