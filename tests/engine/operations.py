"""Every kind of operation, as torch computes it and as the oracle does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracle import Index, Knobs, Map, Operation, Window, attribute, filled_border, indices, reduced, renewed

Function = Callable[[Tensor], Tensor]


def _same_channel(channel: int) -> list[int]:
    return [channel]


class Layer(Operation):
    """An operation that is a module of torch's."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Applied(Operation):
    """An operation that is a function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Convolution(Layer):
    """A convolution of any kind, transposed ones too; other padding than zeros is a step of its own."""

    def __init__(self, layer: nn.Module, places: int = 1) -> None:
        super().__init__(layer)
        self.places = places  # positions that are merged into the channels

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), layer = maps, self.layer
        sizes, rank, padding = x.values.shape[2:], len(layer.kernel_size), layer.padding
        if padding == "same":
            padding = tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size))
        if layer.padding_mode != "zeros":
            around = [p for size in reversed(padding) for p in (size, size)]
            x = Move(lambda v: F.pad(v, around, layer.padding_mode)).masked(knobs, x)
            sizes, padding = x.values.shape[2:], (0,) * rank
        geometry = (sizes, layer.kernel_size, layer.stride, padding, layer.dilation)
        window = Window.transposed(*geometry) if layer.transposed else Window.sliding(*geometry)
        if layer.transposed:
            reach = window.reach(layer(x.values).shape[2:])
        else:
            reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size)]
        values = filled_border(x, reach, knobs)
        out = layer(values) if layer.padding_mode == "zeros" else _unpadded(layer, values)
        fan_in, fan_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        return attribute(
            x, out, window, lambda c: range(c // fan_out * fan_in, (c // fan_out + 1) * fan_in), knobs, self.places
        )


def _unpadded(layer: nn.Module, values: Tensor) -> Tensor:
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(layer.kernel_size)]
    return function(values, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


class Pool(Layer):
    """Sliding windows: maximum or average, with all their settings."""

    def __init__(self, layer: nn.Module, average: bool) -> None:
        super().__init__(layer)
        self.average = average

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), layer = maps, self.layer
        sizes = x.values.shape[2:]
        stride = layer.kernel_size if layer.stride is None else layer.stride
        written = [layer.kernel_size, stride, getattr(layer, "padding", 0), getattr(layer, "dilation", 1)]
        kernel, stride, padding, dilation = ((v,) * len(sizes) if isinstance(v, int) else tuple(v) for v in written)
        window = Window.sliding(sizes, kernel, stride, padding, dilation)
        return _pooled(x, layer, window, self.average, [d * (k - 1) for d, k in zip(dilation, kernel)], knobs)


class AdaptivePool(Pool):
    """Windows that tile the map."""

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        outputs = self.layer(x.values).shape[2:]
        window = Window.adaptive(x.values.shape[2:], outputs)
        return _pooled(x, self.layer, window, self.average, window.reach(outputs), knobs)


def _pooled(x: Map, pool: Function, window: Window, average: bool, reach: Sequence[int], knobs: Knobs) -> Map:
    out, sizes = pool(x.values), x.values.shape[2:]
    everything = set(indices(sizes))
    whole_map = out[0, 0].numel() == 1 and set(window.reads((0,) * len(sizes))) == everything
    over_active = average and knobs.rule.average == "active"
    values = pool(x.checkpoint() if whole_map or over_active else filled_border(x, reach, knobs))
    if over_active:  # the divisor counts active features in place of features
        for index in indices(out.shape):
            read = [(*index[:2], *p) for p in window.reads(index[2:])]
            kept, features = sum(p in x.kept for p in read), sum(p in x.feature for p in read)
            if kept:
                values[index] *= features / kept
    if whole_map:
        return reduced(x, values, range(2, x.values.dim()), True, knobs)[0]
    return attribute(x, values, window, _same_channel, knobs)


class Reduce(Operation):
    """A mean, sum or maximum over whole dimensions, which the result keeps with size 1."""

    def __init__(
        self,
        dims: Sequence[int],
        whole_map: bool,
        function: Callable[..., Tensor] = torch.mean,
        average: bool | None = None,
    ) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self.whole_map = whole_map
        self.function = function
        self.average = function is torch.mean if average is None else average

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.dims, keepdim=True)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        out, counted = reduced(x, self(x.checkpoint()), self.dims, self.whole_map, knobs)
        if self.average and knobs.rule.average == "active":
            for index, (kept, features) in counted.items():
                if kept:
                    out.values[index] *= features / kept
        return out


class Pointwise(Applied):
    """Each element by itself, f(0) = 0 or not; BatchNorm with stored statistics is one."""

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        return Map(self.function(x.checkpoint()), x.kept, x.feature)


class Combine(Operation):
    """The sum or product of two maps, or of a map and a statistic of one position."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], product: bool = False) -> None:
        super().__init__()
        self.function = function
        self.product = product

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.function(x, other)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        values = self.function(*(m.checkpoint() for m in maps))
        statistics = [m.values[0, 0].numel() == 1 < values[0, 0].numel() for m in maps]

        def counts(index: Index) -> tuple[int, int, bool]:
            kept = features = 0
            for m, statistic in zip(maps, statistics):
                if statistic and not self.product:
                    continue  # carries no positions
                own = tuple(i if size > 1 else 0 for i, size in zip(index, m.values.shape))
                kept += own in m.kept
                features += own in m.feature
            union = not self.product and knobs.rule.sum == "union"
            alive = features > 0 and (knobs.exceeded_by(kept, features) if union else kept == features)
            return kept, features, alive

        return renewed(values, counts)


class Concat(Operation):
    """Maps side by side."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, self.dim)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        kept, feature, offset = set(), set(), 0
        for m in maps:
            for old, new in ((m.kept, kept), (m.feature, feature)):
                new.update(tuple(v + offset * (d == self.dim) for d, v in enumerate(index)) for index in old)
            offset += m.values.shape[self.dim]
        return Map(self(*(m.checkpoint() for m in maps)), frozenset(kept), frozenset(feature))


class Move(Applied):
    """Any movement of elements, padding included: found out by moving the elements' numbers."""

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), first = maps, 10**9  # numbers that no padding value has
        elements = list(indices(x.values.shape))
        numbers = torch.arange(first, first + len(elements), dtype=torch.double).reshape(x.values.shape)
        moved = self.function(numbers)
        kept, feature = set(), set()
        for index in indices(moved.shape):
            source = int(moved[index]) - first
            if source < 0:
                continue  # padding is not a feature
            if elements[source] in x.feature:
                feature.add(index)
            if elements[source] in x.kept:
                kept.add(index)
        return Map(self.function(x.checkpoint()), frozenset(kept), frozenset(feature))


class Linear(Layer):
    """A linear map over the last dimension; of a vector (or if `ends`), no position is left: it ends the mask.

    `positions`: the last dimension is of positions, over which Φ is counted; it is of channels otherwise.
    """

    def __init__(self, layer: nn.Module, ends: bool | None = None, positions: bool = False) -> None:
        super().__init__(layer)
        self.ends = ends
        self.positions = positions

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        values = self.layer(x.checkpoint())
        if self.ends or (self.ends is None and x.values.dim() == 2):
            everything = frozenset(indices(values.shape))
            return Map(values, everything, everything)

        def counts(index: Index) -> tuple[int, int, bool]:
            read = [(*index[:-1], i) for i in range(x.values.shape[-1])]
            kept, features = sum(p in x.kept for p in read), sum(p in x.feature for p in read)
            if self.positions:
                return kept, features, features > 0 and knobs.exceeded_by(kept, features)
            return kept, features, kept > 0  # as in a convolution, any channel will do

        return renewed(values, counts)


class Norm(Layer):
    """A norm whose statistics are over data: `sets` says which elements share them.

    With average="active" they are over what is not deactivated; padding is part of the model, so it counts.
    """

    def __init__(self, layer: Any, sets: Callable[[Index], Index]) -> None:
        super().__init__(layer)
        self.sets = sets

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        clean = x.checkpoint()
        values = self.layer(clean)
        if knobs.rule.average == "active":
            values = torch.zeros_like(values)
            members: dict[Index, list[Index]] = {}
            for index in set(indices(values.shape)) - x.dead:
                members.setdefault(self.sets(index), []).append(index)
            for live in members.values():
                found = torch.stack([clean[index] for index in live])
                mean = 0.0 if isinstance(self.layer, nn.RMSNorm) else found.mean()
                eps = torch.finfo(values.dtype).eps if self.layer.eps is None else self.layer.eps
                scale = ((found - mean).square().mean() + eps).rsqrt()
                for index in live:
                    values[index] = (clean[index] - mean) * scale
            weight, bias = getattr(self.layer, "weight", None), getattr(self.layer, "bias", None)
            if weight is not None:  # LayerNorm: over the last dimensions; the others: per channel
                last = isinstance(self.layer, (nn.LayerNorm, nn.RMSNorm))
                shape = weight.shape if last else (1, -1, *(1,) * (values.dim() - 2))
                values = values * weight.reshape(shape) + (0 if bias is None else bias.reshape(shape))
        return Map(values, x.kept, x.feature)
