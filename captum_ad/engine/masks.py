"""The feature mask of a tensor, and the position attribution Φ that renews it (Definitions 3 to 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from captum_ad.engine.axes import Axis, Role
from captum_ad.engine.crop import Box, bounding_box
from captum_ad.rule import MaskRule


@dataclass(frozen=True)
class FeatureMask:
    """Which positions of one tensor are kept.

    Both tensors are boolean and broadcast to the tensor that they describe, dimension by dimension.

    Parameters
    ----------
    kept : Tensor
        Features that are kept (active).
    feature : Tensor, optional
        Where there are features at all; None: everywhere. Padding and constants are no features:
        they are never deactivated, and count neither as kept nor as missing. ``kept`` lies within.
    """

    kept: Tensor
    feature: Tensor | None = None
    given_feature: Tensor | None = field(init=False, repr=False, compare=False)
    """`feature` before it was broadcast: what is remembered of it goes by that object."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "given_feature", self.feature)
        if self.feature is not None and self.feature.shape != self.kept.shape:
            for name, part in zip(("kept", "feature"), torch.broadcast_tensors(self.kept, self.feature)):
                object.__setattr__(self, name, part)

    @cached_property
    def dead(self) -> Tensor:
        """The deactivated positions: features that are not kept."""
        return ~self.kept if self.feature is None else self.feature & ~self.kept

    def bits(self, dtype: torch.dtype) -> Tensor:
        """All ones where not deactivated, zeros where it is, as integers of a type."""
        found = self._bits.get(dtype)
        if found is None:
            found = self._bits[dtype] = self.dead.to(dtype) - 1
        return found

    @cached_property
    def _bits(self) -> dict[torch.dtype, Tensor]:
        return {}

    @cached_property
    def _extremes(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What is dead in no sample, and what is not dead in all, fetched at once: each fetch waits for the device."""
        left = (self.kept if self.feature is None else ~self.dead).view(torch.uint8)  # of which amax is quicker
        lowest, highest = (left[0], left[0]) if left.shape[:1] == (1,) else (left.amin(0), left.amax(0))
        if left.device.type != "cpu":
            lowest, highest = torch.stack((lowest, highest)).cpu()
        return lowest.numpy().view(bool), highest.numpy().view(bool)

    @cached_property
    def box(self) -> Box | None:
        """The box of what is not dead in all samples, across samples; None if nothing is left."""
        return bounding_box(self._extremes[1])

    @cached_property
    def dead_box(self) -> Box | None:
        """The box of what is dead in any sample, across samples; None if nothing is."""
        return bounding_box(~self._extremes[0])

    def again(self) -> FeatureMask:
        """The same mask as an object of its own: renewed, and nothing has changed. What is known of one is of both."""
        same = object.__new__(FeatureMask)
        object.__setattr__(same, "__dict__", self.__dict__)
        return same

    def equals(self, other: FeatureMask) -> bool:
        """Whether two masks say the same."""
        if self.__dict__ is other.__dict__:
            return True
        if self.kept.shape != other.kept.shape or (self.feature is None) != (other.feature is None):
            return False
        same = self.kept is other.kept or torch.equal(self.kept, other.kept)
        return same and (self.feature is None or other.feature is None or torch.equal(self.feature, other.feature))

    @property
    def everywhere(self) -> Tensor:
        """`feature`, written out."""
        return torch.ones_like(self.kept) if self.feature is None else self.feature

    def is_full(self) -> bool:
        """Whether every position is a feature and kept, so that the mask says nothing."""
        return self.feature is None and (self.kept.numel() == 0 or bool(self._extremes[0].all()))

    def map(self, change: Callable[[Tensor], Tensor]) -> FeatureMask:
        """The mask whose parts are changed alike."""
        return FeatureMask(change(self.kept), None if self.feature is None else change(self.feature))


def full_mask(x: Tensor) -> FeatureMask:
    """The mask of a tensor whose features are all kept."""
    return FeatureMask(torch.ones((1,) * x.dim(), dtype=torch.bool, device=x.device))


def undeactivated(feature: Tensor) -> FeatureMask:
    """The mask of a tensor that holds features there, all of them kept, which may outlive the forward."""
    with torch.inference_mode(False):  # of whose tensors no later backward could make use
        mask = FeatureMask(feature) if all_true(feature) else FeatureMask(feature, feature)
        _ = mask.dead  # found now, and not later in inference mode
    return mask


def constant_mask(x: Tensor) -> FeatureMask:
    """The mask of a tensor that holds no features."""
    nothing = torch.zeros((1,) * x.dim(), dtype=torch.bool, device=x.device)
    return FeatureMask(nothing, nothing)


class Taps(NamedTuple):
    """Windows that slide along a dimension: output position o has the input positions o · stride + offset."""

    outputs: int
    stride: int
    offsets: Sequence[int]

    def matrix(self, inputs: int, device: torch.device) -> Tensor:
        """As of :class:`Windows`: a row for each output position, 1 where it has an input position."""
        ahead = torch.arange(inputs) - self.stride * torch.arange(self.outputs)[:, None]
        return torch.isin(ahead, torch.tensor(list(self.offsets))).to(device, torch.float32)

    def any(self, values: Tensor, dim: int) -> Tensor:
        """Whether any value in each window is True; `values` are booleans as bytes."""
        span, (low, high) = (self.outputs - 1) * self.stride + 1, (min(self.offsets), max(self.offsets))
        before, after = max(0, -low), max(0, span + high - values.shape[dim])
        padded = F.pad(values, [0, 0] * (values.dim() - 1 - dim) + [before, after]) if before or after else values
        index = [slice(None)] * dim
        found = [
            padded[(*index, slice(start, start + span, self.stride))] for start in (d + before for d in self.offsets)
        ]
        return reduce(torch.bitwise_or, found)


@dataclass(frozen=True)
class Windows:
    """The position function ``pos`` (Definition 3) of an operation that works on windows.

    Both hold one 0/1 matrix (output positions × input positions, float32) for each of the last
    dimensions; an input position belongs to an output position iff it does in every dimension.

    Parameters
    ----------
    reads : sequence of Tensor
        The in-bounds input positions that an output position is computed from.
    covers : sequence of Tensor
        The input positions that an output position stands for: itself, or its cell at a stride.
    reads_taps, covers_taps : sequence of Taps
        The same where windows slide, for quicker work.
    """

    reads: Sequence[Tensor]
    covers: Sequence[Tensor]
    reads_taps: Sequence[Taps] = ()
    covers_taps: Sequence[Taps] = ()

    @cached_property
    def centred(self) -> bool:
        """Whether each output position covers the input position of its own index, and reads it."""
        return all(
            covers.shape[0] == covers.shape[1]
            and bool((covers == torch.eye(len(covers), device=covers.device)).all() & reads.diag().all())
            for reads, covers in zip(self.reads, self.covers)
        )

    @cached_property
    def empty_cells(self) -> Tensor | None:
        """The output positions that cover no input position; None if there is none."""
        empty = _window_sizes(self.covers) == 0
        return empty if bool(empty.any()) else None

    @cached_property
    def can_slide(self) -> bool:
        """Whether taps are known, and every output position reads something."""
        return len(self.reads_taps) > 0 and bool((_window_sizes(self.reads) > 0).all())

    def of_features(self, feature: Tensor) -> tuple[FeatureMask, Tensor]:
        """The mask if every feature is kept, and where no feature is covered; remembered as long as `feature` is."""
        found: tuple[FeatureMask, Tensor] | None = self._of_features.get(feature)
        if found is None:
            with torch.inference_mode(False):
                read = _any_in_windows(feature, self.reads, self.reads_taps).clone()  # a view would hold on to it
                uncovered = ~_any_in_windows(feature, self.covers, self.covers_taps)
                found = undeactivated(read), uncovered
            self._of_features[feature] = found
        return found

    @cached_property
    def _of_features(self) -> Any:
        return WeakIdKeyDictionary()

    def beside(self, places: int) -> Windows:
        """The same windows over positions of which each is made of several, in one more dimension in front."""
        every = torch.ones(1, places, device=self.reads[0].device)
        return Windows([every, *self.reads], [every, *self.covers])

    @cached_property
    def everything(self) -> bool:
        """Whether there is one output position, and it is computed from all input positions."""
        return all(len(matrix) == 1 and bool(matrix.all()) for matrix in self.reads)


@dataclass(frozen=True)
class Attribution:
    """Φ of every output position as its two counts, and the mask that follows from it."""

    kept: Tensor  # features that are kept, among those that a position is computed from
    features: Tensor  # features that a position is computed from
    mask: FeatureMask


def attribute_positions(mask: FeatureMask, windows: Windows, rule: MaskRule, tau: float) -> Attribution:
    """M' = 1(Φ > τ) over windows: position attribution (Definition 4) and threshold.

    A position that is computed from no feature (padding alone) is no feature itself.

    Parameters
    ----------
    mask : FeatureMask
        Mask of the input; its last ``len(windows.reads)`` dimensions are windowed, the others kept.
    windows : Windows
        Which input positions each output position is computed from, and covers.
    rule : MaskRule
        ``growth="none"`` asks, of a position that covers features, that one of them was active.
    tau : float
        The threshold τ.
    """
    kept, features = _counts(mask, windows.reads)
    alive = exceeds(kept, features, tau)
    if rule.growth == "none":
        covered, cell = _counts(mask, windows.covers)
        alive = alive & (covered.bool() | (cell == 0))
    return Attribution(kept, features, renewed(alive, features))


def renewed_mask(mask: FeatureMask, windows: Windows, rule: MaskRule, tau: float) -> FeatureMask:
    """The mask that :func:`attribute_positions` gives, without counting where that is not needed."""
    if rule.growth == "none" and tau == 0 and mask.feature is None and windows.centred:
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
    return FeatureMask(alive, there)


def _any_in_windows(kept: Tensor, matrices: Sequence[Tensor], taps: Sequence[Taps]) -> Tensor:
    """Whether any feature in each window is kept."""
    first = kept.dim() - len(taps)
    found = kept.expand(*kept.shape[:first], *(matrix.shape[1] for matrix in matrices)).view(torch.uint8)
    for dim, line in enumerate(taps, start=first):
        found = line.any(found, dim)
    return found.view(torch.bool)


def reduce_positions(mask: FeatureMask, shape: Sequence[int], dims: Sequence[int], tau: float) -> Attribution:
    """M' = 1(Φ > τ) where whole dimensions of a tensor of `shape` are reduced to one position."""

    def count(part: Tensor) -> Tensor:
        sizes = [shape[dim] if dim in dims else size for dim, size in enumerate(part.shape)]
        return part.expand(sizes).sum(tuple(dims), keepdim=True, dtype=torch.float32)

    kept = count(mask.kept)
    if mask.feature is None:
        features = torch.full_like(kept, math.prod(shape[dim] for dim in dims))
    else:
        features = count(mask.feature)
    return Attribution(kept, features, renewed(exceeds(kept, features, tau), features))


def places_of(mask: FeatureMask, dim: int, axis: Axis) -> FeatureMask:
    """The mask of the positions that are merged into a dimension: kept where any of the channels there is.

    A position counts once, however many channels it has. Without positions among them, one is left for all.
    """
    places = [i for i, atom in enumerate(axis) if atom.role is Role.POSITION]
    channels = tuple(dim + i for i in range(len(axis)) if i not in places)

    def any_of_channels(part: Tensor) -> Tensor:
        if part.shape[dim] == 1:
            return part
        split: Tensor = part.unflatten(dim, [atom.size for atom in axis])
        return (split.any(channels, keepdim=True) if channels else split).flatten(dim, dim + len(axis) - 1)

    return mask.map(any_of_channels)


def mixed_channels(mask: FeatureMask, dim: int, axis: Axis, tau: float) -> FeatureMask:
    """M' = 1(Φ > τ) where a dimension of channels, and of the positions merged into it, is reduced."""
    places = places_of(mask, dim, axis)
    counts = tau if places.kept.shape[dim] > 1 else 0.0
    return reduce_positions(places, places.kept.shape, [dim], counts).mask


def exceeds(kept: Tensor, features: Tensor, tau: float) -> Tensor:
    """Φ > τ with Φ = kept / features as the double nearest to it: 29 of 100 do not exceed 0.29, and 1 exceeds any τ."""
    return kept.double() / features.clamp(min=1).double() > tau if tau else kept.bool()


def renewed(alive: Tensor, features: Tensor) -> FeatureMask:
    """The mask of positions that are `alive` and are computed from that many features."""
    there = features > 0
    return FeatureMask(alive) if all_true(there) else FeatureMask(alive & there, there)


def _counts(mask: FeatureMask, matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The number of kept features, and of features, in each window."""
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
    """Sums over windows, one dimension after the other; exact, as float32 holds such counts."""
    sums = values.view(torch.uint8).to(torch.float32)  # several times as fast as from bool
    with torch.autocast(values.device.type, enabled=False):
        for dim, matrix in enumerate(matrices, start=first):
            sums = sums.expand(*sums.shape[:dim], matrix.shape[1], *sums.shape[dim + 1 :])
            sums = (sums.transpose(dim, -1) @ matrix.T).transpose(dim, -1)
    return sums


def all_true(values: Tensor) -> bool:
    """``values.all()`` of booleans, many times as fast on a CPU."""
    return values.numel() == 0 or bool(values.view(torch.uint8).min())


def compress(part: Tensor) -> Tensor:
    """Narrow a mask's broadcast dimensions (stride 0) to size 1."""
    for dim, (size, stride) in enumerate(zip(part.shape, part.stride())):
        if size > 1 and stride == 0:
            part = part.narrow(dim, 0, 1)
    return part
