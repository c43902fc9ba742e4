"""A slow reading of Definitions 3 to 5 and of the four knobs, position by position, to compare the engine with.

Written from the specification: a mask is a set of indices, Φ a walk over the positions that one
position is computed from. Nothing here is shared with the engine but the names of the knobs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from operator import add

import torch
from torch import Tensor, nn

from captum_ad import MaskRule

Index = tuple[int, ...]
Positions = Iterable[Index]


@dataclass(frozen=True)
class Knobs:
    """The four knobs, and τ as the decimal number that a user writes."""

    rule: MaskRule
    tau: float

    def exceeded_by(self, kept: int, features: int) -> bool:
        """Φ > τ."""
        tau = _decimal(self.tau)
        return kept * tau.denominator > features * tau.numerator


@cache
def _decimal(tau: float) -> Fraction:
    return Fraction(str(tau))


@dataclass(frozen=True)
class Map:
    """AD of a layer: its values and its mask. Indices name single elements (n, c, ...).

    What is in neither set was computed from no feature; `kept` lies within `feature`.
    """

    values: Tensor
    kept: frozenset[Index]
    feature: frozenset[Index]

    @property
    def dead(self) -> frozenset[Index]:
        return self.feature - self.kept

    def checkpoint(self) -> Tensor:
        """The values, zero where deactivated (Definition 5)."""
        return put(self.values, dict.fromkeys(self.dead, 0.0))


def put(values: Tensor, at: Mapping[Index, float]) -> Tensor:
    """`values`, with others at some indices."""
    array = values.detach().numpy().copy()  # where loops are quick
    for index, value in at.items():
        array[index] = value
    return torch.from_numpy(array)


def indices(shape: Sequence[int]) -> Iterator[Index]:
    return itertools.product(*(range(size) for size in shape))


def first_map(x: Tensor, mask: Tensor) -> Map:
    """The input, whose every element is a feature, with its mask (the first checkpoint)."""
    mask = mask.expand(x.shape).numpy()
    kept = frozenset(index for index in indices(x.shape) if mask[index])
    return Map(x, kept, frozenset(indices(x.shape)))


def renewed(values: Tensor, counts: Callable[[Index], tuple[int, int, bool]]) -> Map:
    """M' over all positions of `values`, from (kept, features, alive) of each."""
    kept, feature = set(), set()
    for index in indices(values.shape):
        _, features, alive = counts(index)
        if features:
            feature.add(index)
            if alive:
                kept.add(index)
    return Map(values, frozenset(kept), frozenset(feature))


class Window:
    """pos(z) of one operation on windows: what a position reads, and which positions it covers."""

    def __init__(self, reads: Callable[[Index], Positions], covers: Callable[[Index], Positions]) -> None:
        self.reads = reads
        self.covers = covers

    @staticmethod
    def product(
        sizes: Sequence[int],
        reads: Callable[[int, int], Iterable[int]],
        covers: Callable[[int, int], Iterable[int]],
    ) -> Window:
        """A window that is a product over dimensions; `reads(d, o)` lists positions along dimension d."""

        def joint(along: Callable[[int, int], Iterable[int]]) -> Callable[[Index], Positions]:
            def positions(out: Index) -> Positions:
                inside = [[i for i in along(d, o) if 0 <= i < sizes[d]] for d, o in enumerate(out)]
                return list(itertools.product(*inside))

            return cache(positions)

        return Window(joint(reads), joint(covers))

    @staticmethod
    def sliding(sizes: Sequence[int], kernel: Index, stride: Index, padding: Index, dilation: Index) -> Window:
        def reads(d: int, o: int) -> Iterable[int]:
            return [o * stride[d] - padding[d] + dilation[d] * tap for tap in range(kernel[d])]

        def covers(d: int, o: int) -> Iterable[int]:
            extent = dilation[d] * (kernel[d] - 1) + 1
            first = o * stride[d] - padding[d] + math.ceil((extent - stride[d]) / 2)
            return range(first, first + stride[d])

        return Window.product(sizes, reads, covers)

    @staticmethod
    def transposed(sizes: Sequence[int], kernel: Index, stride: Index, padding: Index, dilation: Index) -> Window:
        def reads(d: int, o: int) -> Iterable[int]:
            return [
                i
                for i in range(sizes[d])
                if any(i * stride[d] - padding[d] + dilation[d] * tap == o for tap in range(kernel[d]))
            ]

        def covers(d: int, o: int) -> Iterable[int]:
            def distance(i: int) -> Fraction:  # to the middle of what input i is spread over
                return abs(i * stride[d] - padding[d] + Fraction(dilation[d] * (kernel[d] - 1), 2) - o)

            around = range(-9, sizes[d] + 9)
            nearest = min(distance(i) for i in around)
            return [i for i in around if distance(i) == nearest]

        return Window.product(sizes, reads, covers)

    @staticmethod
    def adaptive(sizes: Sequence[int], outputs: Sequence[int]) -> Window:
        def reads(d: int, o: int) -> Iterable[int]:
            return range(math.floor(o * sizes[d] / outputs[d]), math.ceil((o + 1) * sizes[d] / outputs[d]))

        return Window.product(sizes, reads, reads)

    def reach(self, shape: Sequence[int]) -> list[int]:
        """How far apart the positions of one window are at most, along each dimension."""
        furthest = [0] * len(shape)
        for out in indices(shape):
            for d, along in enumerate(zip(*self.reads(out))):
                furthest[d] = max(furthest[d], max(along) - min(along))
        return furthest


def attribute(
    x: Map,
    values: Tensor,
    window: Window,
    channels: Callable[[int], Iterable[int]],
    knobs: Knobs,
    places: int = 1,
) -> Map:
    """Definition 4 for an operation on windows; `channels` says which ones an output channel reads.

    As many positions as `places` are merged into the channels, as their inner factor.
    """

    @cache
    def counts_of(n: int, group: Index, out: Index) -> tuple[int, int, bool]:
        def count(positions: Positions) -> tuple[int, int]:
            kept = features = 0
            for position, place in itertools.product(positions, range(places)):
                elements = [(n, c, *position) for c in group if c % places == place]
                kept += any(element in x.kept for element in elements)
                features += any(element in x.feature for element in elements)
            return kept, features

        kept, features = count(window.reads(out))
        alive = features > 0 and knobs.exceeded_by(kept, features)
        if alive and knobs.rule.growth == "none":
            covered_kept, covered_features = count(window.covers(out))
            alive = covered_kept > 0 or covered_features == 0
        return kept, features, alive

    return renewed(values, lambda index: counts_of(index[0], tuple(channels(index[1])), index[2:]))


def filled_border(x: Map, reach: Sequence[int], knobs: Knobs) -> Tensor:
    """What windows read: zeros at dead positions, or (border="mean") means of what is live around them.

    The neighborhood is 3 wide in every dimension in which the window is wider than 1.
    """
    if knobs.rule.border == "zero":
        return x.checkpoint()
    value = {index: float(x.values[index]) for index in x.kept}
    rank = len(reach)
    around = list(itertools.product(*([-1, 0, 1] if r else [0] for r in reach)))
    for _ in range(max(reach)):
        fresh = {}
        for index in x.dead - value.keys():
            near = [index[:-rank] + tuple(map(add, index[-rank:], steps)) for steps in around]
            live = [value[neighbor] for neighbor in near if neighbor in value]
            if live:
                fresh[index] = sum(live) / len(live)
        value |= fresh
    return put(x.checkpoint(), {index: value[index] for index in value.keys() - x.kept})


def reduced(x: Map, values: Tensor, dims: Sequence[int], whole_map: bool, knobs: Knobs) -> tuple[Map, dict]:
    """Whole dimensions reduced to size 1 (`values` has it kept); and the counts of each position."""
    counted: dict[Index, tuple[int, int]] = {}

    def counts(index: Index) -> tuple[int, int, bool]:
        ranges = [range(size) if d in dims else [index[d]] for d, size in enumerate(x.values.shape)]
        kept = features = 0
        for source in itertools.product(*ranges):
            kept += source in x.kept
            features += source in x.feature
        counted[index] = kept, features
        alive = kept > 0 if whole_map else features > 0 and knobs.exceeded_by(kept, features)
        return kept, features, alive

    return renewed(values, counts), counted


class Operation(nn.Module):
    """One operation, as torch computes it (`forward`) and as AD does (`masked`)."""

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        raise NotImplementedError


class Graph(nn.Module):
    """A network as a list of (operation, numbers of the results it takes); 0 is the input, -1 the last result."""

    def __init__(self, *steps: Operation | tuple[Operation, list[int]]) -> None:
        super().__init__()
        written = [step if isinstance(step, tuple) else (step, [-1]) for step in steps]
        self.operations = nn.ModuleList(operation for operation, _ in written)
        self.sources = [sources for _, sources in written]
        self.double().eval()

    def trace(self, x: Tensor) -> list[Tensor]:
        """The result of every operation."""
        results = [x]
        for operation, sources in zip(self.operations, self.sources):
            results.append(operation(*(results[i] for i in sources)))
        return results[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.trace(x)[-1]

    @torch.no_grad()
    def masked(self, knobs: Knobs, x: Map) -> list[Map]:
        """AD of every operation, by the oracle."""
        results = [x]
        for operation, sources in zip(self.operations, self.sources):
            results.append(operation.masked(knobs, *(results[i] for i in sources)))
        return results[1:]
