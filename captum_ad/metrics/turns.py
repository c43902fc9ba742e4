"""Choose which images to combine in collages: images are used evenly, and no set of them repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def sets_of(sizes: Sequence[int], cells: int) -> int:
    """The number of sets of images of different classes, for classes of the given sizes."""
    ways = [1] + [0] * cells  # to choose 0, 1, 2 … classes and an image of each
    for size in sizes:
        for k in range(cells, 0, -1):
            ways[k] += ways[k - 1] * size
    return ways[cells]


class Turns:
    """Draw sets of images of different classes without repetition, preferring images that were used least often."""

    def __init__(self, classes: Mapping[int, Sequence[int]], cells: int, seed: int) -> None:
        self.classes, self.cells = [members for _, members in sorted(classes.items())], cells
        self.generator = np.random.default_rng(seed)
        self.uses = dict.fromkeys((image for members in self.classes for image in members), 0)
        self.known: set[frozenset[int]] = set()
        self.slack = 0.0

    @property
    def tried(self) -> int:
        """The number of sets drawn."""
        return len(self.known)

    def drawn(self) -> list[int]:
        """Draw another set, in random order."""
        while True:
            images = self._least_taken()
            if frozenset(images) not in self.known:
                break
            self.slack += 0.25  # more randomness, so that other sets come up
        self.known.add(frozenset(images))
        self.slack += 0.02  # remaining images may be unsuitable in any combination
        return [int(image) for image in self.generator.permutation(images)]

    def taken(self, images: Sequence[int]) -> None:
        """Count the images as used."""
        for image in images:
            self.uses[image] += 1
        self.slack = 0.0

    def _least_taken(self) -> list[int]:
        """The least used images, from the classes with most of them left, so that enough different classes remain."""
        level = min(self.uses.values())
        key = {image: count + self.slack * self.generator.random() for image, count in self.uses.items()}
        order = []
        for members in self.classes:
            best = min(members, key=lambda image: (key[image], self.generator.random()))
            left = sum(self.uses[image] == level for image in members)
            order.append((int(key[best]), -left, key[best], self.generator.random(), best))
        return [best for *_, best in sorted(order)[: self.cells]]
