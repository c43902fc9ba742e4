"""What the rules of operations know as ``ad``: which positions of a tensor are kept, and how to say it of a result."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from captum_ad.engine.axes import Axes, mixes_samples
from captum_ad.engine.border import fill_border_
from captum_ad.engine.crop import SMALLEST, WORTHWHILE, Box, Part
from captum_ad.engine.dimensions import Call, axes_after, is_followed
from captum_ad.engine.masks import FeatureMask
from captum_ad.engine.origins import has_own_backward, module_path, tensors_of
from captum_ad.engine.provenance import Provenance, UnknownOriginError
from captum_ad.engine.registry import name_of
from captum_ad.engine.select import zero_, zeroed
from captum_ad.engine.tags import Storage, Tag, is_left_behind, not_left_behind, pointer_of, put_tag, tag_of, version_of
from captum_ad.errors import UnsupportedOperationError
from captum_ad.rule import MaskRule

_T = TypeVar("_T")


def _nothing() -> None:
    """Stands for no operation."""


class Context:
    """The operands of the operation that is running, and their masks.

    Parameters
    ----------
    model : nn.Module
        The model that is run; its parameters and buffers are constants.
    rule : MaskRule
        The four knobs.
    tau : float
        The threshold τ.
    run, depth : int
        Number of the forward, and the call depth at which it began.
    constants : iterable of Tensor
        Arguments of the forward that hold no features.
    skip_dead : bool
        Do not compute what lies outside of a box that holds all that is active.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: MaskRule,
        tau: float,
        run: int,
        depth: int,
        constants: Iterable[Tensor],
        skip_dead: bool,
    ) -> None:
        self.model = model
        self.rule = rule
        self.tau = tau
        self.provenance: Provenance | None = None
        self._run = run
        self._depth = depth
        self._marked: list[weakref.ref[Tensor]] = []
        self._constants = {id(t): t for t in not_left_behind(tensors_of(model))}
        self._constants |= {id(t): t for t in constants}
        self._gradients = torch.is_grad_enabled()
        self._skips = skip_dead and not self._gradients
        self._operation: Callable[..., Any] | None = None
        self._arguments: tuple[Sequence[Any], dict[str, Any]] = (), {}
        self._operands: list[Tensor] = []
        self._tags: list[tuple[Tensor, Tag]] = []  # of operands, as of before the operation
        self._results: list[Tensor] = []

    # What a rule asks and says

    def mask(self, x: object) -> FeatureMask | None:
        """The mask of an operand; None where nothing of it is deactivated."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag.mask if tag else None

    def is_data(self, x: object) -> bool:
        """Whether an operand comes from inputs with features (a constant does not)."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag is not None and tag.data

    def is_clean(self, x: Tensor) -> bool:
        """Whether an operand is known to be zero wherever it is deactivated."""
        tag = self._tag(x)
        return tag is None or tag.mask is None or (tag.clean and tag.writes == tag.storage.writes)

    def axes(self, x: object) -> Axes | None:
        """What the dimensions of an operand are; None of a constant."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag.axes if tag else None

    def is_statistic(self, x: Tensor) -> bool:
        """Whether an operand holds one value, or one vector, per sample or in all, and no position of a map."""
        axes = self.axes(x)
        return axes is not None and axes.has_no_place

    def box(self, mask: FeatureMask | None, shape: Sequence[int]) -> Box | None:
        """Outside of which nothing of a tensor need be computed; None if that is not worth the effort."""
        if mask is None or not self._skips or math.prod(shape) < SMALLEST or torch.is_grad_enabled():
            return None
        return mask.box if mask.box is not None and mask.box.share(shape) <= WORTHWHILE else None

    def part(self, x: Tensor, *, constants: bool = False) -> Part | None:
        """The part of an operand that has to be computed with; None if that is all of it.

        With `constants`, zeros of padding may lie outside, no dead positions: for operations that read zeros there.
        """
        tag = self._tag(x)
        if tag is None:
            return None
        if tag.part is not None and tag.part.constants and not constants:
            self.complete(x)
        box = self.box(tag.mask, x.shape) if tag.part is None else None
        return tag.part if box is None else Part(box, box.of(x))

    def clean_part(self, x: Tensor, *, constants: bool = False) -> Part | None:
        """As :meth:`part`, zero at deactivated positions."""
        tag, part = self._tag(x), self.part(x, constants=constants)
        if tag is None or part is None or tag.mask is None or self.is_clean(x):
            return part
        if tag.part is None:
            return Part(part.box, zeroed(part.values, tag.mask.map(part.box.of)))
        zero_(part.values, tag.mask.map(part.box.of))
        tag.clean, tag.writes = True, tag.storage.writes
        return part

    def part_or_all(self, x: Tensor, *, clean: bool, constants: bool = False) -> Part:
        """As :meth:`part` or, if `clean`, :meth:`clean_part`; all of `x` where that is what has to be computed with."""
        part = (self.clean_part if clean else self.part)(x, constants=constants)
        return part or Part(Box({}), self.deactivate(x) if clean else x)

    def complete(self, *operands: Tensor) -> None:
        """Write into operands (all of them if none is named) what has been computed of them."""
        for x in operands or self._operands:
            tag = tag_of(x)
            if tag is not None and tag.part is not None:
                x.zero_()
                tag.part.box.of(x).copy_(tag.part.values)
                tag.part, tag.storage.version = None, version_of(x)

    def deactivate(self, x: Tensor) -> Tensor:
        """`x`, zero at its deactivated positions: a checkpoint (Definition 5).

        Selects and never multiplies, so that Inf and NaN vanish too. Works in place where no
        gradient, view or argument can notice: what a dead position holds is nobody's to read.
        """
        tag = self._tag(x)
        if tag is None or tag.mask is None:
            return x
        self._check_backward()
        if self.is_clean(x):
            return x
        if not self._is_ours(x, tag):
            return zeroed(x, tag.mask)
        zero_(x, tag.mask)
        tag.clean, tag.writes = True, tag.storage.writes
        return x

    def _is_ours(self, x: Tensor, tag: Tag) -> bool:
        """Whether nobody notices what is written to dead positions: no gradient, view or argument."""
        gradients = self._gradients or torch.is_grad_enabled()  # backward may need what x holds now
        return not (gradients or tag.storage.shared or 0 in x.stride())

    def deactivate_(self, x: Tensor) -> None:
        """Like :meth:`deactivate`, into `x` itself, for operations that write into `x`."""
        tag = self._tag(x)
        if tag is not None and tag.mask is not None:
            self._check_backward()
            if not self.is_clean(x):
                zero_(x, tag.mask)

    def spares_checkpoint(self, x: Tensor, channel: int) -> bool:
        """Whether an operation may do without a checkpoint that computes each position from itself alone, by channels.

        What a deactivated position holds goes into that position only, which stays deactivated, where all channels
        of a position share its mask. (But not for gradients, where NaN times zero would count.)
        """
        mask = self.mask(x)
        gradients = self._gradients or torch.is_grad_enabled()
        return mask is not None and mask.kept.shape[channel] == 1 and not gradients

    def window_input(self, x: Tensor, reach: Sequence[int]) -> Tensor:
        """`x` as active windows read it: deactivated, or with averaged borders (knob ``border``).

        `reach` says for each of the last dimensions how far a window goes from an active position.
        """
        tag, clean = self._tag(x), self.deactivate(x)
        if tag is None or tag.mask is None or self.rule.border == "zero" or not any(reach):
            return clean
        if clean is x:  # was clean before, or is ours
            clean, tag.clean = (x, False) if self._is_ours(x, tag) else (x.clone(), True)
        return fill_border_(clean, tag.mask, reach)

    def emit(
        self,
        out: _T,
        mask: FeatureMask | None,
        *,
        clean: bool = False,
        part: Part | None = None,
        axes: Axes | None = None,
    ) -> _T:
        """Mark a result with its mask and return it.

        Parameters
        ----------
        out : Tensor
            The result; also an operand itself, if it was written in place.
        mask : FeatureMask or None
            Broadcasts to `out`, with as many dimensions; None: everything is kept.
        clean : bool
            Whether `out` is zero at its deactivated positions already.
        part : Part, optional
            What has been computed of `out`, for :meth:`complete` to write into it when that is needed.
        axes : Axes, optional
            What the dimensions of `out` are, where the operation does not say (:mod:`captum_ad.engine.dimensions`).
        """
        if not isinstance(out, Tensor):
            raise TypeError(f"a rule emits tensors, not {type(out).__name__}: emit each tensor of a tuple")
        if mask is not None:
            if len(mask.kept.shape) != out.dim():
                raise ValueError(f"mask of {mask.kept.dim()} dimensions emitted for a tensor of {out.dim()}")
            if not any(mask is tag.mask for _, tag in self._tags) and mask.is_full():
                mask = None
        axes = axes or self._axes_of(out)
        storage, old = self._storage_of(out)
        if any(out is operand for operand in self._operands):
            storage.writes += 1
            if old is None or not old.data or old.mask is not mask:
                storage.mask_writes += 1
        self._mark(out, Tag(self._run, True, mask, clean, storage, axes, part))
        self._results.append(out)
        if self.provenance is not None:
            self.provenance.add(out)
        return out

    def emit_part(
        self, x: Tensor, part: Part, mask: FeatureMask | None, *, clean: bool = False, in_place: bool = False
    ) -> Tensor:
        """Mark and return a result that is like `x`, of which a part has been computed; `x` itself, if in place."""
        tag, held = self._tag(x), self.part(x)
        if held is not None and held.values.data_ptr() == part.values.data_ptr():
            return self.emit(x, mask, clean=clean, part=tag.part if tag else None)
        out = x if in_place else torch.empty_like(x, dtype=part.values.dtype)
        self.emit(out, mask, clean=clean, part=part)
        if tag is not None and in_place and tag.storage.shared:
            self.complete(x)  # others look at the same memory
        return out

    def constant(self, out: Tensor) -> Tensor:
        """Mark a result that depends on no feature's value, only on shapes, and return it."""
        storage, old = self._storage_of(out)
        if old is not None and old.data:
            storage.mask_writes += 1  # it held features so far
        self._mark(out, Tag(self._run, False, None, True, storage))
        return out

    def refuse(self, why: str, kind: type[UnsupportedOperationError] = UnsupportedOperationError) -> NoReturn:
        """Stop the forward: `why` completes "the operation … in module …"."""
        raise kind(
            f"{name_of(self._operation)}, called in {module_path(self.model)}, {why}: the feature mask would be lost, "
            "and the answer silently wrong. Register a rule for it (help(captum_ad.register_rule) has an example), or "
            "rewrite the module with operations that have one."
        )

    def only(self, x: Tensor) -> None:
        """Refuse the operation if any other operand than `x` has a mask."""
        for operand in self._operands:
            if operand is not x and self.mask(operand) is not None:
                self.refuse("has a rule for one masked operand, and was given several")

    # How it is known

    def _check_backward(self) -> None:
        """Refuse a checkpoint in code whose gradients are computed apart from what is done here."""
        if self._gradients and has_own_backward(self._depth):
            self.refuse(
                "runs inside torch.utils.checkpoint or an autograd function, whose backward knows nothing of masks "
                "(call it under torch.no_grad(), switch checkpointing off, or register a rule for the function)"
            )

    def _tag(self, x: Tensor) -> Tag | None:
        tag = tag_of(x)
        if tag is None:
            if id(x) not in self._constants:
                self._adopt(x)
            return None
        if tag.data and tag.run != self._run:
            self.refuse("got a tensor of another masked forward that is under way")
        return tag if tag.mask_writes == tag.storage.mask_writes else self._renewed(x, tag)

    def _renewed(self, x: Tensor, tag: Tag) -> Tag:
        """What is known of a tensor after its memory was written to through another one."""
        self.refuse("got a tensor whose memory was given other features through another view of it")

    def _adopt(self, x: Tensor) -> None:
        """Take a tensor that was not seen before for a constant, if it is certain to be one."""
        if is_left_behind(x):
            self.refuse("got a tensor that an earlier forward computed from its features, and kept")
        if self.provenance is None or self.provenance.is_of_features(x):
            self.refuse(
                f"got a tensor of shape {tuple(x.shape)} that comes from features, and that no operation seen here has "
                "made (but a ScriptModule, an extension, numpy or nn.Parameter)",
                UnsupportedOperationError if self.provenance else UnknownOriginError,
            )
        self._constants[id(x)] = x

    def _check_version(self, x: Tensor, tag: Tag) -> None:
        if version_of(x) != tag.storage.version:
            self.refuse("got a tensor that was written to by code that could not be followed (compiled, or numpy)")

    def _axes_of(self, out: Tensor) -> Axes:
        """What the dimensions of a result are, by the operation and its operands."""
        known = {id(operand): tag.axes for operand, tag in self._tags if tag.data and tag.axes is not None}
        operands = list(known.values())
        if self._operation is None or not operands:
            return axes_after(Call(_nothing, (), {}, lambda x: None, out, 0), operands)
        args, kwargs = self._arguments
        call = Call(self._operation, args, kwargs, lambda x: known.get(id(x)), out, len(self._results))
        apart = len(operands) < 2 or is_followed(self._operation)
        if not apart and mixes_samples(operands) and any(tag.mask is not None for _, tag in self._tags):
            self.refuse("mixes the samples of a batch (pass them one by one)")
        return axes_after(call, operands)

    def _storage_of(self, out: Tensor) -> tuple[Storage, Tag | None]:
        """The storage record of a result, shared with the operand or other result whose memory it is."""
        old = tag_of(out)
        if old is not None:
            return old.storage, old
        pointer = pointer_of(out)
        for operand in (*self._operands, *self._results) if pointer else ():
            tag = tag_of(operand)
            if tag is not None and tag.storage.pointer == pointer:
                tag.storage.shared = True
                return tag.storage, None
            if tag is None and pointer_of(operand) == pointer:
                return Storage(pointer, external=True), None
        return Storage(pointer), None

    def _mark(self, x: Tensor, tag: Tag) -> None:
        put_tag(x, tag)
        self._marked.append(weakref.ref(x))
