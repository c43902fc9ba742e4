"""The definitions of Activation-Deactivation, in the order of the paper (arXiv 2510.01038).

- Definition 3, the position function pos: :class:`Windows` says which input positions each output position is
  computed from. :mod:`captum_ad._engine.positions` builds the windows of each kind of operation.
- Definition 4, the position attribution Φ = kept / features: the share of those input positions that is kept.
  :func:`attribute_positions` counts them over windows and returns the mask of the result, M' = 1(Φ > τ);
  :func:`reduce_positions` does over whole dimensions.
  :func:`renewed_mask` returns the mask of :func:`attribute_positions`, but skips the counting where it can.
- Definition 5, activation-deactivation: a checkpoint sets the activations at deactivated positions to zero,
  :meth:`~captum_ad._engine.context.Context.deactivate`.
- Algorithm 1: the network's own ``forward`` is the loop. :class:`~captum_ad._engine.interpreter.Interpreter` intercepts
  each operation and calls its rule in :mod:`captum_ad._engine.rules`, which does what stands in the loop::

      x = ad.deactivate(x)                                     # checkpoint, if the operation mixes positions
      out = op(x)                                              # the layer
      mask = renewed_mask(ad.mask(x), windows, ad.rule, ad.tau)  # M' = 1(Φ > τ)
      return ad.emit(out, mask)

  ``tests/oracle.py`` is the same algorithm position by position, in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from captum_ad._engine.axes import Axis, Role
from captum_ad._engine.crop import Box
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._engine.masks import PositionMask, all_true, undeactivated
from captum_ad._engine.static import as_booleans, as_bytes, is_at_hand, is_recorded
from captum_ad._engine.taps import Taps

# Definition 3


@dataclass(frozen=True)
class Windows:
    """The position function ``pos`` (Definition 3) of an operation that works on windows.

    `reads` and `covers` each hold one 0/1 matrix (output positions × input positions, float32) for each of
    the last dimensions. An input position belongs to an output position iff it does in every dimension.

    Parameters
    ----------
    reads : sequence of Tensor
        The in-bounds input positions that an output position is computed from.
    covers : sequence of Tensor
        The input positions that an output position stands for: the one at its own index or, at a stride
        above 1, its cell of input positions.
    reads_taps, covers_taps : sequence of Taps
        The same as offsets, if the windows slide: faster than the matrices.
    """

    reads: Sequence[Tensor]
    covers: Sequence[Tensor]
    reads_taps: Sequence[Taps] = ()
    covers_taps: Sequence[Taps] = ()

    @cached_property
    def centered(self) -> bool:
        """Whether each output position covers exactly the input position of its own index, and reads it."""
        return all(
            covers.shape[0] == covers.shape[1]
            and bool((covers == torch.eye(len(covers), device=covers.device)).all() & reads.diag().all())
            for reads, covers in zip(self.reads, self.covers)
        )

    @cached_property
    def empty_cells(self) -> Tensor | None:
        """The output positions that cover no input position; None if every one covers some."""
        empty = _window_sizes(self.covers) == 0
        return empty if bool(empty.any()) else None

    @cached_property
    def all_read(self) -> bool:
        """Whether every output position reads something."""
        return bool((_window_sizes(self.reads) > 0).all())

    def cover(self, mask: PositionMask) -> bool:
        """Whether every output position is known to cover a feature, without waiting for another device."""
        feature = mask.given_feature
        if feature is None:
            return self.empty_cells is None
        return is_at_hand(feature) and not bool(self.of_features(feature)[1].any())

    @property
    def can_slide(self) -> bool:
        """Whether taps are known, and every output position reads something."""
        return len(self.reads_taps) > 0 and self.all_read

    def box_of(self, box: Box, dims: int) -> Box:
        """A box that holds all windows that read a position in `box`. For windows that slide."""
        sides = dict(box.sides)
        for dim, taps in enumerate(self.reads_taps, start=dims - len(self.reads_taps)):
            start, end = sides.pop(dim, (0, 0))
            first = max(0, -((max(taps.offsets) - start) // taps.stride))
            behind = min(taps.outputs, (end - 1 - min(taps.offsets)) // taps.stride + 1)
            if start < end and first < behind:
                sides[dim] = first, behind
        return Box(sides)

    def read_by(self, alive: Tensor) -> Tensor:
        """The input positions that windows which are `alive` read. For windows that slide."""
        found = as_bytes(alive)
        for dim, (taps, matrix) in enumerate(zip(self.reads_taps, self.reads), start=alive.dim() - len(self.reads)):
            found = taps.read_by(found, dim, matrix.shape[1])
        return as_booleans(found)

    def of_features(self, feature: Tensor) -> tuple[PositionMask, Tensor]:
        """The output mask if every feature is kept, and the output positions that cover no feature.

        Cached for as long as `feature` lives.
        """
        found: tuple[PositionMask, Tensor] | None = self._of_features.get(feature)
        if found is None:
            with torch.inference_mode(False):
                # A view would keep `feature` alive.
                read = _any_in_windows(feature, self.reads, self.reads_taps).clone()
                uncovered = ~_any_in_windows(feature, self.covers, self.covers_taps)
                found = undeactivated(read), uncovered
            self._of_features[feature] = found
        return found

    @cached_property
    def _of_features(self) -> Any:
        return WeakIdKeyDictionary()

    def beside(self, places: int) -> Windows:
        """The same windows with one more dimension in front, of `places` positions that every window reads whole."""
        every = torch.ones(1, places, device=self.reads[0].device)
        return Windows([every, *self.reads], [every, *self.covers])

    @cached_property
    def everything(self) -> bool:
        """Whether there is a single output position, computed from all input positions."""
        return all(len(matrix) == 1 and bool(matrix.all()) for matrix in self.reads)


# Definition 4


@dataclass(frozen=True)
class Attribution:
    """Φ = kept / features of every output position, as the two counts, and the mask that follows from it."""

    kept: Tensor  # number of kept features that a position is computed from
    features: Tensor  # number of features that a position is computed from
    mask: PositionMask


def attribute_positions(mask: PositionMask, windows: Windows, rule: MaskRule, tau: float) -> Attribution:
    """M' = 1(Φ > τ) over windows: position attribution (Definition 4) and threshold.

    A position that is computed from no feature (padding alone) is not a feature itself.

    Parameters
    ----------
    mask : PositionMask
        Mask of the input. The windows run over its last ``len(windows.reads)`` dimensions; the others
        stay as they are.
    windows : Windows
        Which input positions each output position is computed from, and which it covers.
    rule : MaskRule
        With ``growth="none"``, a position that covers features also needs one of them to be active.
    tau : float
        The threshold τ.
    """
    kept, features = _counts(mask, windows.reads)
    alive = exceeds(kept, features, tau)
    if rule.growth == "none":
        covered, cell = _counts(mask, windows.covers)
        alive = alive & (covered.bool() | (cell == 0))
    whole = mask.feature is None and windows.all_read
    return Attribution(kept, features, PositionMask(alive) if whole else renewed(alive, features))


def renewed_mask(mask: PositionMask, windows: Windows, rule: MaskRule, tau: float) -> PositionMask:
    """The mask that :func:`attribute_positions` gives, computed faster.

    It is unchanged if nothing grows and each position has a window of its own. If τ = 0, a window is active if any
    of its positions is, which needs no counts.
    """
    if rule.growth == "none" and tau == 0 and mask.feature is None and windows.centered:
        return mask.again()
    if tau != 0 or not windows.can_slide:
        return attribute_positions(mask, windows, rule, tau).mask
    if mask.given_feature is None:
        there, uncovered = None, windows.empty_cells
    else:
        whole, uncovered = windows.of_features(mask.given_feature)
        if mask.kept is mask.feature:
            return whole
        there = whole.feature
    alive = _any_in_windows(mask.kept, windows.reads, windows.reads_taps)
    if rule.growth == "none":
        covered = _any_in_windows(mask.kept, windows.covers, windows.covers_taps)
        alive = alive & (covered if uncovered is None else covered | uncovered)
    return PositionMask(alive, there).put_in_box([mask], lambda box: windows.box_of(box, mask.kept.dim()))


def reduce_positions(mask: PositionMask, shape: Sequence[int], dims: Sequence[int], tau: float) -> Attribution:
    """M' = 1(Φ > τ) where all of `dims` of a tensor of `shape` are reduced to one position."""

    def count(part: Tensor) -> Tensor:
        sizes = [shape[dim] if dim in dims else size for dim, size in enumerate(part.shape)]
        return part.expand(sizes).sum(tuple(dims), keepdim=True, dtype=torch.float32)

    kept, number = count(mask.kept), math.prod(shape[dim] for dim in dims)
    if mask.feature is None and number:
        features = torch.full(kept.shape, float(number), device=kept.device)
        return Attribution(kept, features, PositionMask(exceeds(kept, features, tau)))
    features = torch.zeros_like(kept) if mask.feature is None else count(mask.feature)
    return Attribution(kept, features, renewed(exceeds(kept, features, tau), features))


def places_of(mask: PositionMask, dim: int, axis: Axis) -> PositionMask:
    """The mask of the positions among the factors of a merged dimension: kept where any channel there is kept.

    A position counts once, however many channels it has. If no factor is a position, a single entry is left.
    """
    places = [i for i, atom in enumerate(axis) if atom.role in (Role.POSITION, Role.PIECE)]
    channels = tuple(dim + i for i in range(len(axis)) if i not in places)

    def any_of_channels(part: Tensor) -> Tensor:
        if part.shape[dim] == 1:
            return part
        split: Tensor = part.unflatten(dim, [atom.size for atom in axis])
        return (split.any(channels, keepdim=True) if channels else split).flatten(dim, dim + len(axis) - 1)

    return mask.map(any_of_channels)


def exceeds(kept: Tensor, features: Tensor, tau: float) -> Tensor:
    """Φ > τ, with Φ = kept / features in float64, so that 29 of 100 do not exceed 0.29 and 1 exceeds any τ < 1."""
    return kept.double() / features.clamp(min=1).double() > tau if tau else kept.bool()


def renewed(alive: Tensor, features: Tensor) -> PositionMask:
    """The mask of positions that are `alive`; those computed from 0 `features` are not features themselves."""
    there = features > 0
    return PositionMask(alive) if all_true(there) else PositionMask(alive & there, there)


def _any_in_windows(kept: Tensor, matrices: Sequence[Tensor], taps: Sequence[Taps]) -> Tensor:
    """For each window, whether any feature in it is kept."""
    first = kept.dim() - len(taps)
    if is_recorded():  # compilers would compute what each slice needs anew, back to the input's mask
        return _sum_windows(kept, matrices, first) > 0
    found = as_bytes(kept.expand(*kept.shape[:first], *(matrix.shape[1] for matrix in matrices)))
    for dim, line in enumerate(taps, start=first):
        found = line.any(found, dim)
    return as_booleans(found)


def _counts(mask: PositionMask, matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The number of kept features and the number of all features, in each window."""
    first = mask.kept.dim() - len(matrices)
    if mask.feature is None:
        features = _window_sizes(matrices).reshape((1,) * first + tuple(len(m) for m in matrices))
    else:
        features = _sum_windows(mask.feature, matrices, first)
    return _sum_windows(mask.kept, matrices, first), features


def _window_sizes(matrices: Sequence[Tensor]) -> Tensor:
    sizes = matrices[0].sum(1)
    for matrix in matrices[1:]:
        sizes = sizes[..., None] * matrix.sum(1)
    return sizes


def _sum_windows(values: Tensor, matrices: Sequence[Tensor], first: int) -> Tensor:
    """Sums over windows, one dimension after the other; exact, because float32 holds such counts exactly."""
    sums = as_bytes(values).to(torch.float32)  # where it is a view, several times as fast as converting bool
    with torch.autocast(values.device.type, enabled=False):
        for dim, matrix in enumerate(matrices, start=first):
            sums = sums.expand(*sums.shape[:dim], matrix.shape[1], *sums.shape[dim + 1 :])
            sums = (sums.transpose(dim, -1) @ matrix.T).transpose(dim, -1)
    return sums
