"""Interpolation and grid sampling, as torch computes them and as the oracle does: tap by tap, in exact fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache

import torch.nn.functional as F
from torch import Tensor

from tests.engine.operations import AdaptivePool, _same_channel
from tests.oracle import Index, Knobs, Map, Operation, Window, attribute, filled_border, renewed

HALF = Fraction(1, 2)


class Resize(Operation):
    """Interpolation to a size, or by a factor, in every mode."""

    def __init__(self, size: Sequence[int] | None, mode: str, factor: float | None = None, **kwargs: bool) -> None:
        super().__init__()
        self.size = size
        self.mode = mode
        self.factor = factor
        self.kwargs = kwargs

    def forward(self, x: Tensor) -> Tensor:
        size = None if self.size is None else tuple(self.size)
        return F.interpolate(x, size, self.factor, self.mode, **self.kwargs)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        sizes, outputs = x.values.shape[2:], self(x.values).shape[2:]
        if self.mode == "area":
            return _Area(self, outputs).masked(knobs, x)
        window = Window.product(sizes, lambda d, o: self.reads(sizes[d], outputs[d], o), _overlap(sizes, outputs))
        reach = window.reach(outputs)
        values = self(filled_border(x, reach, knobs) if any(reach) else x.checkpoint())
        return attribute(x, values, window, _same_channel, knobs)

    def reads(self, size: int, outputs: int, o: int) -> Iterable[int]:
        """The positions with a weight."""
        given = self.factor is not None and not self.kwargs.get("recompute_scale_factor")
        step = 1 / Fraction(self.factor) if given else Fraction(size, outputs)
        if self.mode == "nearest":
            return [min(math.floor(o * step), size - 1)]
        if self.mode == "nearest-exact":
            return [min(math.floor((o + HALF) * step), size - 1)]
        if self.kwargs.get("align_corners"):
            step = Fraction(size - 1, outputs - 1) if outputs > 1 else Fraction(0)
            center = o * step
        else:
            center = (o + HALF) * step - HALF
        weights: dict[int, Fraction] = {}
        for tap, weight in self.weights(center, step, size):
            at = min(max(tap, 0), size - 1)
            weights[at] = weights.get(at, Fraction(0)) + weight
        return [tap for tap, weight in weights.items() if weight]

    def weights(self, center: Fraction, step: Fraction, size: int) -> Iterable[tuple[int, Fraction]]:
        cubic = self.mode == "bicubic"
        if self.kwargs.get("antialias"):  # a wider filter where the map shrinks, cut off at the map's edge
            stretch = max(step, Fraction(1))
            kernel = _cubic(Fraction(-1, 2)) if cubic else _tent
            return [(tap, kernel((tap - center) / stretch)) for tap in range(size)]
        if not cubic:
            center = max(center, Fraction(0))
        first = math.floor(center)
        kernel = _cubic(Fraction(-3, 4)) if cubic else _tent
        return [(tap, kernel(tap - center)) for tap in range(first - 1, first + 3)]


class _Area(AdaptivePool):
    """mode="area" is adaptive average pooling."""

    def __init__(self, layer: Resize, outputs: Sequence[int]) -> None:
        super().__init__(layer, average=True)


def _overlap(sizes: Sequence[int], outputs: Sequence[int]) -> object:
    """The positions that an output position would lie on if the map were stretched."""

    def covers(d: int, o: int) -> Iterable[int]:
        start, end = Fraction(o, outputs[d]), Fraction(o + 1, outputs[d])
        return [i for i in range(sizes[d]) if Fraction(i, sizes[d]) < end and Fraction(i + 1, sizes[d]) > start]

    return covers


def _tent(x: Fraction) -> Fraction:
    return max(1 - abs(x), Fraction(0))


def _cubic(a: Fraction) -> object:
    """Keys' convolution kernel."""

    def kernel(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else Fraction(0)

    return kernel


class GridSample(Operation):
    """The values at points that are written down, (N, *outputs, rank) in [-1, 1]."""

    def __init__(self, grid: Tensor, mode: str, padding: str, align: bool) -> None:
        super().__init__()
        self.grid = grid
        self.mode = mode
        self.padding = padding
        self.align = align

    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, self.grid, self.mode, self.padding, self.align)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        sizes = x.values.shape[2:]
        values = self(filled_border(x, [int(self.mode == "bilinear")] * len(sizes), knobs))

        @cache
        def taps(n: int, out: Index) -> list[tuple[Index, Fraction]]:
            point = reversed(self.grid[(n, *out)].tolist())  # x comes first
            lines = [self.line(self.unpadded(Fraction(p), size)) for p, size in zip(point, sizes)]
            joint = [tuple(zip(*taps)) for taps in itertools.product(*lines)]
            inside = [(at, ws) for at, ws in joint if all(0 <= i < size for i, size in zip(at, sizes))]
            return [(at, math.prod(ws)) for at, ws in inside if math.prod(ws)]

        def counts(index: Index) -> tuple[int, int, bool]:
            n, c, *out = index
            found = taps(n, tuple(out))
            kept = sum((n, c, *at) in x.kept for at, _ in found)
            features = sum((n, c, *at) in x.feature for at, _ in found)
            alive = features > 0 and knobs.exceeded_by(kept, features)
            nearest = [(n, c, *at) for at, weight in found if weight == max(w for _, w in found)]
            nearest = [at for at in nearest if at in x.feature] if self.nearest_inside(n, tuple(out), sizes) else []
            if alive and knobs.rule.growth == "none" and nearest:
                alive = any(at in x.kept for at in nearest)
            return kept, features, alive

        return renewed(values, counts)

    def nearest_inside(self, n: int, out: Index, sizes: Sequence[int]) -> bool:
        """Whether one of the nearest taps lies on the map (the heaviest one that does need not be it)."""
        point = reversed(self.grid[(n, *out)].tolist())
        for p, size in zip(point, sizes):
            line = self.line(self.unpadded(Fraction(p), size))
            heaviest = max(weight for _, weight in line)
            if not any(0 <= at < size for at, weight in line if weight == heaviest):
                return False
        return True

    def unpadded(self, p: Fraction, size: int) -> Fraction:
        """Where a coordinate points to, counted in positions, once the padding mode has moved it."""
        at = (p + 1) / 2 * (size - 1) if self.align else ((p + 1) * size - 1) / 2
        low, high = (Fraction(0), Fraction(size - 1)) if self.align else (-HALF, size - HALF)
        if self.padding == "reflection":
            while not low <= at <= high:
                at = 2 * low - at if at < low else 2 * high - at
        return at if self.padding == "zeros" else min(max(at, Fraction(0)), Fraction(size - 1))

    def line(self, at: Fraction) -> list[tuple[int, Fraction]]:
        if self.mode == "nearest":
            return [(round(at), Fraction(1))]
        first = math.floor(at)
        return [(first, 1 - (at - first)), (first + 1, at - first)]
