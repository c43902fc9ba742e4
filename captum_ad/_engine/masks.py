"""The position mask that is carried beside a tensor: which of its positions are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_ad._engine.crop import Box, bounding_box
from captum_ad._engine.static import is_at_hand, is_known


@dataclass(frozen=True)
class PositionMask:
    """Which positions of one tensor are kept.

    `kept` and `feature` are boolean, have as many dimensions as the tensor that they describe, and broadcast to it.

    Parameters
    ----------
    kept : Tensor
        True where a feature is kept (active).
    feature : Tensor, optional
        True where there is a feature at all; None: everywhere. Padding and constants are not features:
        they are never deactivated, and count neither as kept nor as missing. True wherever `kept` is.
    """

    kept: Tensor
    feature: Tensor | None = None
    given_feature: Tensor | None = field(init=False, repr=False, compare=False)
    """`feature` before it was broadcast: caches use this object as their key."""

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
        """Integers of `dtype` for bitwise "and": all bits 1 where not deactivated, all bits 0 where deactivated."""
        found = self._bits.get(dtype)
        if found is None:
            found = self._bits[dtype] = self.dead.to(dtype) - 1
        return found

    @cached_property
    def _bits(self) -> dict[torch.dtype, Tensor]:
        return {}

    @cached_property
    def _extremes(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Where no sample is dead, and where not all samples are, without the batch dimension, as NumPy arrays.

        Fetched together, because each copy from the device waits for it.
        """
        left = (self.kept if self.feature is None else ~self.dead).view(torch.uint8)  # amax of bytes is faster
        lowest, highest = (left[0], left[0]) if left.shape[:1] == (1,) else (left.amin(0), left.amax(0))
        if left.device.type != "cpu":
            lowest, highest = torch.stack((lowest, highest)).cpu()
        return lowest.numpy().view(bool), highest.numpy().view(bool)

    @cached_property
    def box(self) -> Box | None:
        """The smallest box that holds the positions alive in any sample; None if there are none.

        After :meth:`put_in_box`, it may not be the smallest.
        """
        return bounding_box(self._extremes[1])

    @property
    def box_is_at_hand(self) -> bool:
        """Whether `box` is known without waiting for another device."""
        return self.kept.device.type == "cpu" or bool({"box", "_extremes"} & vars(self).keys())

    def put_in_box(self, masks: Sequence[PositionMask], change: Callable[[Box], Box] = lambda box: box) -> PositionMask:
        """Set `box` from the boxes of the masks that this one was made of, if its values are on another device.

        Parameters
        ----------
        masks : sequence of PositionMask
            If their boxes are not known, nothing is set.
        change : callable
            Changes a box around what is alive in `masks` into one around what is alive in this mask.

        Returns
        -------
        PositionMask
            This mask.
        """
        if self.kept.device.type != "cpu" and all(mask.box_is_at_hand for mask in masks):
            boxes = [mask.box for mask in masks if mask.box is not None]
            vars(self).setdefault("box", change(reduce(Box.around, boxes)) if boxes else None)
        return self

    @cached_property
    def dead_box(self) -> Box | None:
        """The smallest box that holds the positions dead in any sample; None if there are none."""
        return bounding_box(~self._extremes[0])

    def live_rows(self, leading: Sequence[int]) -> Tensor:
        """Flat indices of the positions that are not dead, among dimensions of sizes `leading`; int64, 1-D.

        `leading` are the sizes of all dimensions of the tensor but the last.
        """
        key = tuple(leading)
        if key not in self._rows:
            self._rows[key] = (~self.dead).squeeze(-1).expand(key).reshape(-1).nonzero().flatten()
        return self._rows[key]

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], Tensor]:
        return {}

    @cached_property
    def fills(self) -> dict[Any, Any]:
        """What :mod:`captum_ad._engine.border` has computed for this mask."""
        return {}

    def again(self) -> PositionMask:
        """A new object for the same mask, which shares its cached properties: the mask was renewed, unchanged."""
        same = object.__new__(PositionMask)
        object.__setattr__(same, "__dict__", self.__dict__)
        return same

    def equals(self, other: PositionMask) -> bool:
        """Whether two masks are equal."""
        if self.__dict__ is other.__dict__:
            return True
        if self.kept.shape != other.kept.shape or (self.feature is None) != (other.feature is None):
            return False
        return same(self.kept, other.kept) and (
            self.feature is None or other.feature is None or same(self.feature, other.feature)
        )

    @property
    def everywhere(self) -> Tensor:
        """`feature`, as a tensor also where it is None."""
        return (
            torch.ones(self.kept.shape, dtype=torch.bool, device=self.kept.device)
            if self.feature is None
            else self.feature
        )

    def is_full(self, wait: bool = True) -> bool:
        """Whether every position is a feature and kept, so that there is nothing to deactivate.

        If that is unknown, or without `wait` on another device, False.
        """
        fetched = wait or "_extremes" in vars(self)
        if self.feature is not None or not (is_known(self.kept) if fetched else is_at_hand(self.kept)):
            return False
        return self.kept.numel() == 0 or bool(self._extremes[0].all())

    def map(self, change: Callable[[Tensor], Tensor]) -> PositionMask:
        """The mask with `change` applied to both `kept` and `feature`."""
        return PositionMask(change(self.kept), None if self.feature is None else change(self.feature))


def full_mask(x: Tensor) -> PositionMask:
    """The mask of a tensor whose features are all kept."""
    return PositionMask(torch.ones((1,) * x.dim(), dtype=torch.bool, device=x.device))


def undeactivated(feature: Tensor) -> PositionMask:
    """The mask of a tensor with features where `feature` is True, all of them kept; it may outlive the forward."""
    with torch.inference_mode(False):  # a later backward could not use inference tensors
        mask = PositionMask(feature) if all_true(feature, wait=True) else PositionMask(feature, feature)
        _ = mask.dead  # cache it now: later it might be computed in inference mode
    return mask


def constant_mask(x: Tensor) -> PositionMask:
    """The mask of a tensor that holds no features."""
    nothing = torch.zeros((1,) * x.dim(), dtype=torch.bool, device=x.device)
    return PositionMask(nothing, nothing)


def all_true(values: Tensor, wait: bool = False) -> bool:
    """``values.all()`` of booleans; False if they are unknown (recording), or without `wait` on another device.

    On a CPU it is much faster than ``all``.
    """
    known = is_known(values) if wait else is_at_hand(values)
    return known and (values.numel() == 0 or bool(values.view(torch.uint8).min()))


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are known to be equal, without waiting for another device."""
    return one is other or (is_at_hand(one) and is_at_hand(other) and torch.equal(one, other))


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Like ``torch.broadcast_shapes``, but much faster."""
    found = [1] * max(map(len, shapes))
    for shape in shapes:
        for dim in range(-len(shape), 0):
            if shape[dim] != 1:
                if found[dim] not in (1, shape[dim]):
                    return tuple(torch.broadcast_shapes(*map(tuple, shapes)))  # raises torch's error
                found[dim] = shape[dim]
    return tuple(found)


def compress(part: Tensor) -> Tensor:
    """Narrow a mask's broadcast dimensions (stride 0) to size 1."""
    for dim, (size, stride) in enumerate(zip(part.shape, part.stride())):
        if size > 1 and stride == 0:
            part = part.narrow(dim, 0, 1)
    return part


def all_of(mask: PositionMask, dim: int) -> PositionMask:
    """The mask reduced along a dimension: a position is dead if any of its features along `dim` is dead."""
    feature = mask.everywhere.any(dim, keepdim=True)
    return PositionMask(feature & ~mask.dead.any(dim, keepdim=True), None if all_true(feature) else feature)
