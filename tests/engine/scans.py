"""Running totals, orders and spectra, as torch computes them and as the oracle does."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import Tensor

from tests.engine.operations import Applied
from tests.oracle import Index, Knobs, Map, put, renewed


class Running(Applied):
    """A running total along a dimension; `absent` is what a missing element contributes; `vector`: of channels."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        dim: int,
        *,
        product: bool = False,
        absent: float = 0.0,
        vector: bool = False,
    ) -> None:
        super().__init__(function)
        self.dim = dim
        self.product = product
        self.absent = absent
        self.vector = vector

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps

        def counts(index: Index) -> tuple[int, int, bool]:
            before = [(*index[: self.dim], i, *index[self.dim + 1 :]) for i in range(index[self.dim] + 1)]
            kept, features = sum(p in x.kept for p in before), sum(p in x.feature for p in before)
            if self.product:
                return kept, features, kept == features
            if self.vector:  # has no positions: active if anything is
                return kept, features, kept > 0
            alive = features > 0 and knobs.exceeded_by(kept, features)
            if knobs.rule.growth == "none":
                alive = alive and (index in x.kept or index not in x.feature)
            return kept, features, alive

        return renewed(self.function(put(x.values, dict.fromkeys(x.dead, self.absent))), counts)


class Mixed(Applied):
    """Positions along some dimensions turned into an order, or a spectrum: each is computed from all of them."""

    def __init__(self, function: Callable[[Tensor], Tensor], *dims: int, whole_map: bool = False) -> None:
        super().__init__(function)
        self.dims = dims
        self.whole_map = whole_map

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), sizes = maps, maps[0].values.shape

        def counts(index: Index) -> tuple[int, int, bool]:
            ranges = [range(sizes[d]) if d in self.dims else [i] for d, i in enumerate(index)]
            read = list(itertools.product(*ranges))
            kept, features = sum(p in x.kept for p in read), sum(p in x.feature for p in read)
            alive = kept > 0 if self.whole_map else features > 0 and knobs.exceeded_by(kept, features)
            return kept, features, alive

        return renewed(self.function(x.checkpoint()).double(), counts)
