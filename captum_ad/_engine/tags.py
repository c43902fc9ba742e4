"""What the interpreter knows of a tensor, stored as an attribute of the tensor while a masked forward runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from captum_ad._engine.axes import Axes
from captum_ad._engine.crop import Part
from captum_ad._engine.masks import PositionMask

_ATTRIBUTE = "_captum_ad_tag"
_LEFT_BEHIND: Any = WeakIdKeyDictionary()


class Storage:
    """The record that tensors with the same memory share."""

    __slots__ = ("external", "mask_writes", "pending", "pointer", "shared", "version", "writes")

    def __init__(self, pointer: int, *, external: bool = False, shared: bool = False) -> None:
        self.pointer = pointer
        self.external = external  # memory of the model or the caller
        self.shared = shared or external  # used by several tensors
        self.version: int | None = None  # torch's count of writes after the last operation seen
        self.writes = 0  # number of in-place operations
        self.pending: list[weakref.ref[Tensor]] = []  # tensors that may have a part that is not written yet
        self.mask_writes = 0  # number of in-place operations that changed which positions are kept


class Tag:
    """What is known of one tensor: whether it comes from inputs with features, and its mask."""

    __slots__ = (
        "apart",
        "axes",
        "clean",
        "data",
        "made",
        "mask",
        "mask_writes",
        "part",
        "run",
        "storage",
        "view_of",
        "writes",
    )

    def __init__(
        self,
        run: int,
        data: bool,
        mask: PositionMask | None,
        clean: bool,
        storage: Storage,
        axes: Axes | None = None,
        part: Part | None = None,
        made: tuple[int, int] = (-1, 0),
    ) -> None:
        self.run = run  # the forward that made it
        self.data = data
        self.mask = mask  # None: all of it is kept
        self.clean = clean  # whether it was zero at deactivated positions when it had `writes` writes
        self.storage = storage
        self.axes = axes  # None: a constant
        self.part = part  # its computed part, if that is not written into it yet
        self.made = made  # index of the model's operation that made it, and which of its results it is
        self.writes = storage.writes
        self.mask_writes = storage.mask_writes
        self.apart: int | None = None  # torch's count of writes, if this view has its own count
        self.view_of: tuple[Tensor, Any] | None = None  # (x, index) if the tensor is x[index]


def tag_of(x: Tensor) -> Tag | None:
    """The tag of a tensor; None if it has none."""
    return x.__dict__.get(_ATTRIBUTE)


def put_tag(x: Tensor, tag: Tag) -> None:
    """Set the tag of a tensor.

    A view normally shares torch's count of writes with its base. In inference mode under a dispatch mode (such as that
    of :mod:`captum_ad._engine.provenance`), some views have their own count.
    """
    before = tag_of(x)
    if before is not None:
        tag.apart = before.apart
    elif tag.storage.version not in (None, version := version_of(x)):
        tag.apart = version
    setattr(x, _ATTRIBUTE, tag)
    note_version(x, tag)


def take_tag(x: Tensor) -> None:
    """Remove the tag of a tensor that outlives its forward; remember the tensor if it comes from features."""
    tag: Tag | None = x.__dict__.pop(_ATTRIBUTE, None)
    if tag is not None and tag.data:
        _LEFT_BEHIND[x] = True


def is_left_behind(x: Tensor) -> bool:
    """Whether a tensor was computed from features in an earlier forward and has outlived it."""
    return bool(_LEFT_BEHIND) and x in _LEFT_BEHIND


def not_left_behind(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """The tensors for which :func:`is_left_behind` is False."""
    return [x for x in tensors if x not in _LEFT_BEHIND] if _LEFT_BEHIND else tensors


def version_of(x: Tensor) -> int | None:
    """Torch's count of writes to a tensor's memory; inference tensors have none."""
    return None if x.is_inference() else x._version


def note_version(x: Tensor, tag: Tag) -> None:
    """Remember torch's count of writes to a tensor's memory."""
    if tag.apart is None:
        tag.storage.version = version_of(x)
    else:
        tag.apart = version_of(x)


def is_as_noted(x: Tensor, tag: Tag) -> bool:
    """Whether nothing has written to a tensor since :func:`note_version`."""
    return version_of(x) == (tag.storage.version if tag.apart is None else tag.apart)


def pointer_of(x: Tensor) -> int:
    """The address of a tensor's memory; 0 if its layout is not strided."""
    return int(x.untyped_storage().data_ptr()) if x.layout == torch.strided else 0


def tensors_in(*values: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts of arguments."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += tensors_in(*value)
        elif isinstance(value, dict):
            found += tensors_in(*value.values())
    return found
