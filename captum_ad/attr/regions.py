"""Regions of an input, cut at random into four parts: the search space of causal responsibility."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Path = tuple[int, ...]
"""The place of a region in the tree of cuts: the number of the part taken at each level."""


@dataclass(frozen=True)
class Units:
    """The smallest units that regions consist of.

    Attributes
    ----------
    labels : Ints
        The unit of each position, shape (positions).
    sizes : Ints
        Number of positions in each unit.
    centers : Floats
        Mean coordinates of each unit, shape (units, dimensions).
    superpixels : Ints
        The superpixel of each unit; all 0 if there are none.
    superpixel_centers : Floats
        Mean coordinates of each superpixel, shape (superpixels, dimensions).
    """

    labels: Ints
    sizes: Ints
    centers: Floats
    superpixels: Ints
    superpixel_centers: Floats


def units_of(spatial: Sequence[int], feature_mask: Tensor | None, superpixels: Tensor | None) -> Units:
    """The units of an input: its positions, or the groups of a feature mask.

    Parameters
    ----------
    spatial : sequence of int
        Shape of the input's positions.
    feature_mask, superpixels : Tensor, optional
        Integer labels that broadcast to that shape: the smallest units, and the regions to start from.

    Raises
    ------
    ValueError
        If labels are not integers or have another shape.
    """
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in spatial), indexing="ij"), -1)
    coordinates: Floats = grid.reshape(-1, len(spatial)).astype(np.float64)
    positions = len(coordinates)
    labels = np.arange(positions) if feature_mask is None else _labels(feature_mask, spatial, "feature_mask")
    coarse = np.zeros(positions, np.int64) if superpixels is None else _labels(superpixels, spatial, "superpixels")
    sizes, centers = _centers(labels, coordinates)
    first_of_unit = np.unique(labels, return_index=True)[1]
    return Units(labels, sizes, centers, coarse[first_of_unit], _centers(coarse, coordinates)[1])


def _labels(given: Tensor, spatial: Sequence[int], what: str) -> Ints:
    shape = tuple(given.shape)
    if given.is_floating_point() or given.dtype == torch.bool:
        raise ValueError(f"{what} is {given.dtype}, expected integer labels")
    if shape[len(shape) - len(spatial) :] != tuple(spatial) or given.numel() != int(np.prod(spatial)):
        raise ValueError(f"{what} has shape {shape}, expected {tuple(spatial)}, or leading dimensions of 1 before it")
    return np.unique(given.cpu().numpy().reshape(-1), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _centers(labels: Ints, coordinates: Floats) -> tuple[Ints, Floats]:
    sizes = np.bincount(labels)
    sums = [np.bincount(labels, weights=column) for column in coordinates.T]
    return sizes.astype(np.int64), np.stack(sums, -1) / sizes[:, None]


class RegionTree:
    """The regions of one iteration. Each is cut once, at a place that depends only on the seed and its path.

    Parameters
    ----------
    units : Units
        The units that regions consist of.
    min_region : int
        Regions of at most this many positions are not cut.
    seed : tuple of int
        Random seed of the cuts.
    first : tuple of float, optional
        Where the whole input is cut along its two axes, from 0 to 1; random by default.
    """

    def __init__(
        self, units: Units, min_region: int, seed: tuple[int, ...], first: tuple[float, float] | None = None
    ) -> None:
        self.units, self.min_region, self.seed, self.first = units, min_region, seed, first
        self.members: dict[Path, Ints] = {(): np.arange(len(units.sizes))}
        self.parts = functools.cache(self._parts)

    def area(self, path: Path) -> int:
        """Number of positions in a region."""
        return int(self.units.sizes[self.members[path]].sum())

    def positions(self, path: Path) -> npt.NDArray[np.bool_]:
        """Which positions a region covers, bool, shape (positions)."""
        inside = np.zeros(len(self.units.sizes), bool)
        inside[self.members[path]] = True
        covered: npt.NDArray[np.bool_] = inside[self.units.labels]
        return covered

    def _parts(self, path: Path) -> tuple[Path, ...]:
        """The two to four parts of a region, in order; empty if it cannot be cut."""
        members = self.members[path]
        if self.area(path) <= self.min_region or len(members) < 2:
            return ()
        whole = _present(self.units.superpixels[members])
        if len(whole) > 1:  # several superpixels: cut between them
            part_of_superpixel = np.zeros(whole.max() + 1, np.int64)
            part_of_superpixel[whole] = self._cut(self.units.superpixel_centers[whole], path)
            part = part_of_superpixel[self.units.superpixels[members]]
        else:
            part = self._cut(self.units.centers[members], path)
        found = []
        for number in _present(part).tolist():
            child = (*path, number)
            self.members[child] = members[part == number]
            found.append(child)
        return tuple(found) if len(found) > 1 else ()

    def _cut(self, centers: Floats, path: Path) -> Ints:
        """The part, 0 to 3, of each point: halves along each of two axes, or quarters along the only one."""
        generator = np.random.default_rng((*self.seed, len(path), *path))
        extents = centers.max(0) - centers.min(0)
        axes = np.sort(np.argsort(-extents, kind="stable")[:2])
        if centers.shape[1] == 1 or not extents[axes].all():
            values = centers[:, int(np.argmax(extents))]
            places = np.unique(values)[1:]  # values on both sides of the cut
            chosen = generator.choice(places, min(3, len(places)), replace=False)
            return np.searchsorted(np.sort(chosen), values, "right")
        part = np.zeros(len(centers), np.int64)
        for axis, share in zip(axes, generator.random(2) if path or self.first is None else self.first):
            places = np.unique(centers[:, axis])[1:]
            part = 2 * part + (centers[:, axis] >= places[int(share * len(places))])
        return part


def _present(labels: Ints) -> Ints:
    """The labels that occur, in order. np.unique would sort all of them, which is slow."""
    return np.flatnonzero(np.bincount(labels))


def spread(count: int, seed: int) -> list[tuple[float, float]]:
    """Random points that cover the unit square, and each of its axes, evenly, however many of them are used.

    Multiples of the golden and the silver ratio modulo 1, shifted at random, so that each point is uniform.
    """
    steps = np.arange(count)[:, None] * ((math.sqrt(5) - 1) / 2, math.sqrt(2) - 1)
    points = (np.random.default_rng(seed).random(2) + steps) % 1
    return [(float(first), float(second)) for first, second in points]
