"""Which images come together in collages: they take turns, and no set of them comes twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def sets_of(sizes: Sequence[int], cells: int) -> int:
    """How many sets of images of different classes there are, in classes of so many images."""
    ways = [1] + [0] * cells  # of choosing 0, 1, 2 … classes and an image of each
    for size in sizes:
        for k in range(cells, 0, -1):
            ways[k] += ways[k - 1] * size
    return ways[cells]


class Turns:
    """Draws sets of images of different classes, none twice; those come first that were taken least often."""

    def __init__(self, classes: Mapping[int, Sequence[int]], cells: int, seed: int) -> None:
        self.classes, self.cells = [members for _, members in sorted(classes.items())], cells
        self.generator = np.random.default_rng(seed)
        self.uses = dict.fromkeys((image for members in self.classes for image in members), 0)
        self.known: set[frozenset[int]] = set()
        self.slack = 0.0

    @property
    def tried(self) -> int:
        """How many sets were drawn."""
        return len(self.known)

    def drawn(self) -> list[int]:
        """Another set, in random order."""
        while True:
            images = self._least_taken()
            if frozenset(images) not in self.known:
                break
            self.slack += 0.25  # chance counts more, so that other sets come up
        self.known.add(frozenset(images))
        self.slack += 0.02  # what remains may not suit, whatever it comes with
        return [int(image) for image in self.generator.permutation(images)]

    def taken(self, images: Sequence[int]) -> None:
        """Count the images as used."""
        for image in images:
            self.uses[image] += 1
        self.slack = 0.0

    def _least_taken(self) -> list[int]:
        """Of the classes that have most of such images left: so there will be different ones up to the last."""
        level = min(self.uses.values())
        key = {image: count + self.slack * self.generator.random() for image, count in self.uses.items()}
        order = []
        for members in self.classes:
            best = min(members, key=lambda image: (key[image], self.generator.random()))
            left = sum(self.uses[image] == level for image in members)
            order.append((int(key[best]), -left, key[best], self.generator.random(), best))
        return [best for *_, best in sorted(order)[: self.cells]]
