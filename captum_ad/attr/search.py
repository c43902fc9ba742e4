"""One iteration of causal responsibility: the search through a tree of regions."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from captum_ad.attr.regions import Path, RegionTree

Bools = npt.NDArray[np.bool_]
State = tuple[Path, ...]
"""Regions that are kept; everything else is hidden."""


class Search:
    """One iteration: a queue of passing sets, smallest first, and the responsibility of each region."""

    def __init__(self, tree: RegionTree, whole_passes: bool) -> None:
        self.tree = tree
        self.known: dict[frozenset[Path], bool] = {frozenset(): False, frozenset([()]): whole_passes}
        self.responsible: dict[Path, float] = {}
        self.order = itertools.count()
        self.queue: list[tuple[int, int, State]] = []
        self.pushed: set[frozenset[Path]] = set()
        self.unknown: list[State] = []
        self._push(((),))

    def choose(self) -> bool:
        """Choose the next set, and which of its regions to cut. False if none is left."""
        while self.queue:
            self.state = heapq.heappop(self.queue)[2]
            cuttable = [region for region in self.state if self.tree.parts(region)]
            if cuttable:
                self.region = max(cuttable, key=self.tree.area)
                self.rest = tuple(region for region in self.state if region != self.region)
                self.parts = self.tree.parts(self.region)
                self.minimal: list[State] = []
                self.size = 0
                self._decide()
                return True
        return False

    def most(self) -> int:
        """Upper bound on the answers that the partition still needs."""
        return sum(self._key(c) not in self.known for n in range(self.size, len(self.parts)) for c in self._open(n))

    def masks(self) -> list[Bools]:
        """The masks of the combinations whose answers are needed next."""
        return [self._mask((*self.rest, *combination)) for combination in self.unknown]

    def learn(self, answers: Iterable[bool]) -> None:
        """Store the answers, and determine which ones are needed next."""
        self.known.update(zip(map(self._key, self.unknown), answers))
        self._decide()

    def conclude(self) -> None:
        """Update the responsibilities of the parts, and queue the sets to search further."""
        for part in self.parts:
            sizes = [len(combination) for combination in self.minimal if part in combination]
            found = 1 / min(sizes) if sizes else 0.0
            self.responsible[part] = max(found, self.responsible.get(part, 0.0))
        for combination in self.minimal:
            self._push((*self.rest, *combination))

    def _decide(self) -> None:
        """Go through the combinations by size until one has unknown answers."""
        while self.size <= len(self.parts):
            self.unknown = [c for c in self._open(self.size) if self._key(c) not in self.known]
            if self.unknown:
                return
            self.minimal += [c for c in self._open(self.size) if self.known[self._key(c)]]
            self.size += 1

    def _open(self, size: int) -> list[State]:
        """The combinations of a size that contain no minimal one, and so may be minimal themselves."""
        return [c for c in itertools.combinations(self.parts, size) if not any(set(m) <= set(c) for m in self.minimal)]

    def responsibility(self) -> npt.NDArray[np.float64]:
        """The map of responsibilities, shape (positions)."""
        total = np.zeros(len(self.tree.units.labels))
        for region, value in self.responsible.items():
            if value:
                total += value * self.tree.positions(region)
        return total

    def _push(self, state: State) -> None:
        if state and frozenset(state) not in self.pushed:
            self.pushed.add(frozenset(state))
            heapq.heappush(self.queue, (sum(map(self.tree.area, state)), next(self.order), state))

    def _key(self, combination: State) -> frozenset[Path]:
        """The kept regions as a canonical key: parts that make up a whole region are replaced by it."""
        regions = {*self.rest, *combination}
        for depth in range(max(map(len, regions), default=0), 0, -1):
            for parent in {region[:-1] for region in regions if len(region) == depth}:
                parts = self.tree.parts(parent)
                if regions.issuperset(parts):
                    regions = regions.difference(parts) | {parent}
        return frozenset(regions)

    def _mask(self, regions: State) -> Bools:
        inside = np.zeros(len(self.tree.units.sizes), bool)
        for region in regions:
            inside[self.tree.members[region]] = True
        kept: Bools = inside[self.tree.units.labels]
        return kept
