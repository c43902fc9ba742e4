"""Choices, statistics and compositions, as torch computes them and as the oracle does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.engine.operations import Applied, Combine, Move
from tests.oracle import Index, Knobs, Map, Operation, Window, indices, renewed


class Statistic(Operation):
    """Any statistic of whole dimensions, which the result keeps with size 1.

    `function` computes it of a list of values; `skips` says whether dead ones are left out, or zero.
    """

    def __init__(
        self,
        torch_function: Callable[[Tensor], Tensor],
        dims: Sequence[int],
        whole_map: bool,
        function: Callable[[Tensor], Tensor],
        skips: Callable[[Knobs], bool] = lambda knobs: False,
        product: bool = False,
    ) -> None:
        super().__init__()
        self.torch_function = torch_function
        self.dims = dims
        self.whole_map = whole_map
        self.function = function
        self.skips = skips
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        return self.torch_function(x)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        clean, values = x.checkpoint(), self(x.checkpoint()).to(torch.double)

        def counts(index: Index) -> tuple[int, int, bool]:
            ranges = [range(size) if d in self.dims else [index[d]] for d, size in enumerate(clean.shape)]
            read = list(itertools.product(*ranges))
            kept, features = sum(p in x.kept for p in read), sum(p in x.feature for p in read)
            if present := [clean[p] for p in read if p not in x.dead or not self.skips(knobs)]:
                values[index] = self.function(torch.stack(present))
            if self.product:
                return kept, features, kept == features
            return kept, features, kept > 0 if self.whole_map else features > 0 and knobs.exceeded_by(kept, features)

        return renewed(values, counts)


class Select(Operation):
    """One map where a constant condition holds, another elsewhere."""

    def __init__(self, condition: Tensor) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return torch.where(self.condition, x, other)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        values = self(*(m.checkpoint() for m in maps))
        holds = self.condition.expand(values.shape)
        chosen = {index: maps[0] if holds[index] else maps[1] for index in indices(values.shape)}
        kept = frozenset(index for index, m in chosen.items() if index in m.kept)
        return Map(values, kept, frozenset(index for index, m in chosen.items() if index in m.feature))


class Decide(Operation):
    """One map where a third is positive, another elsewhere: the third one is a factor of their sum."""

    def forward(self, condition: Tensor, x: Tensor, other: Tensor) -> Tensor:
        return torch.where(condition > 0, x, other)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        condition, x, other = maps
        either = Combine(torch.add).masked(knobs, x, other)
        mask = Combine(torch.mul, product=True).masked(knobs, condition, either)
        return Map(self(*(m.checkpoint() for m in maps)), mask.kept, mask.feature)


class Composed(Operation):
    """An operation that is a composition of others, given as a graph's steps."""

    def __init__(self, function: Callable[..., Tensor], masked: Callable[..., Map]) -> None:
        super().__init__()
        self.function = function
        self.composition = masked

    def forward(self, *maps: Tensor) -> Tensor:
        return self.function(*maps)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        return self.composition(knobs, *maps)


SUB, ADD = Combine(torch.sub), Combine(torch.add)
MUL, DIV = Combine(torch.mul, product=True), Combine(torch.div, product=True)


def lerp(weight: float) -> Operation:
    scaled = Scaled(weight)
    return Composed(
        lambda x, end: torch.lerp(x, end, weight),
        lambda knobs, x, end: ADD.masked(knobs, x, scaled.masked(knobs, SUB.masked(knobs, end, x))),
    )


def addcmul(value: float) -> Operation:
    return Composed(
        lambda x, one, two: torch.addcmul(x, one, two, value=value),
        lambda knobs, x, one, two: ADD.masked(knobs, x, Scaled(value).masked(knobs, MUL.masked(knobs, one, two))),
    )


def addcdiv(value: float) -> Operation:
    return Composed(
        lambda x, one, two: torch.addcdiv(x, one, two, value=value),
        lambda knobs, x, one, two: ADD.masked(knobs, x, Scaled(value).masked(knobs, DIV.masked(knobs, one, two))),
    )


def diff(dim: int) -> Operation:
    def later(x: Tensor) -> Tensor:
        return x.narrow(dim, 1, x.shape[dim] - 1)

    def earlier(x: Tensor) -> Tensor:
        return x.narrow(dim, 0, x.shape[dim] - 1)

    return Composed(
        lambda x: torch.diff(x, dim=dim),
        lambda knobs, x: SUB.masked(knobs, Move(later).masked(knobs, x), Move(earlier).masked(knobs, x)),
    )


def glu() -> Operation:
    """The product of the channels' first half and the sigmoid of their second."""

    def masked(knobs: Knobs, x: Map) -> Map:
        first, second = (Move(lambda v, i=i: v.chunk(2, 1)[i]).masked(knobs, x) for i in range(2))
        return MUL.masked(knobs, first, Map(torch.sigmoid(second.values), second.kept, second.feature))

    return Composed(lambda x: F.glu(x, 1), masked)


class Scaled(Applied):
    """A multiple."""

    def __init__(self, by: float) -> None:
        super().__init__(lambda x: by * x)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        return Map(self(x.checkpoint()), x.kept, x.feature)


class Zeroed(Applied):
    """A function that is zero at some positions: no features, where they were kept; what is dead stays dead."""

    def __init__(self, function: Callable[[Tensor], Tensor], zeroed: Tensor) -> None:
        super().__init__(function)
        self.zeroed = zeroed

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        gone = frozenset(index for index in x.kept if self.zeroed[index[-self.zeroed.dim() :]])
        return Map(self.function(x.checkpoint()), x.kept - gone, x.feature - gone)


class Unfold(Move):
    """Windows laid side by side (no dilation); without growth, those are dead that cover nothing active."""

    def __init__(self, kernel: tuple[int, int], stride: int = 1, padding: int = 0) -> None:
        super().__init__(lambda x: F.unfold(x, kernel, padding=padding, stride=stride))
        self.kernel, self.stride, self.padding = kernel, (stride, stride), (padding, padding)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), moved = maps, super().masked(knobs, *maps)
        if knobs.rule.growth == "window":
            return moved
        sizes = x.values.shape[2:]
        per_line = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(sizes, self.kernel, self.stride, self.padding)]
        places, each = list(indices(per_line)), self.kernel[0] * self.kernel[1]
        covers = Window.sliding(sizes, self.kernel, self.stride, self.padding, (1, 1)).covers

        def is_covered(index: Index) -> bool:
            n, entry, place = index
            cell = [(n, entry // each, *position) for position in covers(places[place])]
            return any(p in x.kept for p in cell) or not any(p in x.feature for p in cell)

        return replace(moved, kept=frozenset(filter(is_covered, moved.kept)))


class Fold(Operation):
    """Windows that were laid side by side, summed where they overlap (no dilation)."""

    def __init__(self, size: tuple[int, int], kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size = size
        self.kernel = kernel
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.fold(x, self.size, self.kernel, padding=self.padding, stride=self.stride)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), k = maps, self.kernel
        values = self(x.checkpoint())
        per_row = [(size + 2 * self.padding - k) // self.stride + 1 for size in self.size]
        blocks = list(itertools.product(*(range(count) for count in per_row)))

        def counts(index: Index) -> tuple[int, int, bool]:
            n, c, *place = index
            sources = []
            for number, block in enumerate(blocks):
                tap = [p + self.padding - b * self.stride for p, b in zip(place, block)]
                if all(0 <= t < k for t in tap):
                    sources.append((n, (c * k + tap[0]) * k + tap[1], number))
            kept, features = sum(s in x.kept for s in sources), sum(s in x.feature for s in sources)
            union = knobs.rule.sum == "union"
            alive = features > 0 and (knobs.exceeded_by(kept, features) if union else kept == features)
            return kept, features, alive

        return renewed(values, counts)
