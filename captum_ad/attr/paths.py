"""Paths from a baseline to an input, along which gradients are integrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = tuple[Tensor, ...]
"""One sample's inputs, with a batch dimension of 1."""

Gradient = Callable[[Inputs], Inputs]
Path = Callable[[Inputs, Inputs, int, Gradient], Iterator[Inputs]]
"""Takes the input, the baseline, the number of steps, and a function that returns the gradient at a point; yields
steps + 1 points, the last of which is the input."""

MAX_SIGMA = 50 / 224
"""σ where blur paths start, as a fraction of the shortest side: 50 pixels of 224, as in the source's code."""

FRACTION, MAX_DISTANCE = 0.25, 0.02
"""For guided paths: the fraction of features that move at a time, and how far they may be from the straight line."""


def straight(x: Inputs, baseline: Inputs, steps: int, gradient: Gradient) -> Iterator[Inputs]:
    """The straight line of Integrated Gradients (Sundararajan, Taly and Yan 2017)."""
    for step in range(steps):
        yield tuple(low + (step / steps) * (high - low) for low, high in zip(baseline, x))
    yield x


def blurred(x: Inputs, baseline: Inputs, steps: int, gradient: Gradient) -> Iterator[Inputs]:
    """From a blur to the input (Xu, Venugopalan and Sundararajan 2020, *Attribution in Scale and Space*, CVPR)."""
    for step in range(steps):
        yield tuple(_gaussian(one, MAX_SIGMA * (1 - step / steps) * _shortest(one)) for one in x)
    yield x


def guided(x: Inputs, baseline: Inputs, steps: int, gradient: Gradient) -> Iterator[Inputs]:
    """Features with small gradients move first (Kapishnikov et al. 2021, *Guided Integrated Gradients*, CVPR).

    Every step brings the point closer to the input by the same L1 distance. The quarter of the features with the
    smallest gradients moves first, but no feature is farther than 0.02 of the path from the straight line.
    """
    shapes = [one.shape for one in x]
    end, start = (torch.cat([one.flatten() for one in many]) for many in (x, baseline))
    point, total = start.clone(), float((end - start).abs().sum())
    moving = end != start
    for step in range(steps):
        yield _apart(point, shapes)
        slope = torch.cat([one.flatten() for one in gradient(_apart(point, shapes))]).abs()
        least, most = (min(1.0, max(0.0, (step + 1) / steps + d)) for d in (-MAX_DISTANCE, MAX_DISTANCE))
        nearest, farthest = (start + share * (end - start) for share in (most, least))
        wanted = total * (1 - (step + 1) / steps)
        behind = moving & ((end - point).abs() > (end - farthest).abs())
        point = torch.where(behind, farthest, point)
        while True:
            left = float((end - point).abs().sum()) - wanted
            free = moving & ((end - point).abs() > (end - nearest).abs())
            if left <= 1e-9 * total or not bool(free.any()):
                break
            threshold = slope[free].kthvalue(max(1, math.ceil(FRACTION * int(free.sum())))).values
            chosen = free & (slope <= threshold)
            room = float((nearest - point)[chosen].abs().sum())
            point = torch.where(chosen, point + min(1.0, left / room) * (nearest - point), point)
            if left < room:
                break
            point = torch.where(chosen, nearest, point)
    yield x


PATHS: Mapping[str, Path] = MappingProxyType({"straight": straight, "blur": blurred, "guided": guided})
"""Paths by name."""

WITHOUT_BASELINE = ("blur",)
"""Paths that have their own start and take no baseline."""

SEQUENTIAL = ("guided",)
"""Paths whose next point depends on the gradient at the current one."""


def _apart(values: Tensor, shapes: list[torch.Size]) -> Inputs:
    parts = values.split([shape.numel() for shape in shapes])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes))


def _shortest(x: Tensor) -> int:
    return min(x.shape[min(2, x.dim() - 1) :])


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    """A sample blurred by a Gaussian along its spatial dimensions."""
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (steps / max(sigma, 1e-6)) ** 2).exp()
    kernel = (weights / weights.sum())[None, None]
    for dim in range(min(2, x.dim() - 1), x.dim()):  # a Gaussian is separable
        last = x.movedim(dim, -1)
        rows = F.pad(last.reshape(-1, 1, last.shape[-1]), (reach, reach), mode="replicate")
        x = F.conv1d(rows, kernel).reshape(last.shape).movedim(-1, dim)
    return x
