"""The methods of ``ad`` that every rule uses: the mask of an operand, the checkpoint, and emitting a result."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from captum_ad._engine.axes import Axes
from captum_ad._engine.border import fill_border_
from captum_ad._engine.crop import Part
from captum_ad._engine.dimensions import Call, axes_after, is_followed, unknown
from captum_ad._engine.kept import KeptRun, described
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.memory import Memory
from captum_ad._engine.merging import mixes_samples
from captum_ad._engine.origins import call_depth
from captum_ad._engine.select import zero_, zeroed
from captum_ad._engine.tags import Tag, note_version, tag_of

_T = TypeVar("_T")
_RUNS = itertools.count()


class Context(Memory):
    """The operands of the operation that is running, and their masks.

    Parameters
    ----------
    model, rule, tau, constants, skip_dead, kept
        See :class:`~captum_ad._engine.interpreter.Interpreter`.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: MaskRule,
        tau: float,
        constants: Iterable[Tensor] = (),
        *,
        skip_dead: bool = True,
        kept: KeptRun | None = None,
    ) -> None:
        super().__init__(model, next(_RUNS), call_depth(), constants)
        self.rule = rule
        self.tau = tau
        self._skips = skip_dead and not self._gradients
        self._kept = kept

    # What a rule calls

    def mask(self, x: object) -> PositionMask | None:
        """The mask of an operand; None if none of its positions is deactivated."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag.mask if tag else None

    def is_data(self, x: object) -> bool:
        """Whether an operand comes from inputs with features (a constant does not)."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag is not None and tag.data

    def is_clean(self, x: Tensor) -> bool:
        """Whether an operand is known to be zero at all its deactivated positions."""
        tag = self._tag(x)
        return tag is None or tag.mask is None or (tag.clean and tag.writes == tag.storage.writes)

    def axes(self, x: object) -> Axes | None:
        """What the dimensions of an operand are; None for a constant."""
        tag = self._tag(x) if isinstance(x, Tensor) else None
        return tag.axes if tag else None

    def is_statistic(self, x: Tensor) -> bool:
        """Whether an operand has no position of a map: one value or one vector, per sample or for all of them."""
        axes = self.axes(x)
        return axes is not None and axes.has_no_place

    def tau_over(self, x: Tensor, dims: Sequence[int]) -> float:
        """The threshold of a sum over these dimensions of `x`.

        If no position is left, τ is not asked: a statistic of the whole map is active if anything is.
        """
        axes = self.axes(x)
        places = axes.positions if axes is not None else ()
        return self.tau if any(d % x.dim() not in dims and x.shape[d] > 1 for d in places) else 0.0

    def kept_result(self, shape: Sequence[int]) -> Tensor | None:
        """The result of this operation in the kept run, shape (1, ...), if that run made the same call; else None."""
        if self._kept is None or self._operation is None:
            return None
        if any(tag.data and (tag.part is None or tag.part.outside is None) for _, tag in self._tags):
            return None  # an operand without a kept counterpart, such as computed weights: all of it may differ
        return self._kept.result(self._number, described(self._operation, *self._arguments), shape)

    def complete(self, *operands: Tensor) -> None:
        """Write the part that has been computed of each operand into it; without arguments, for all operands."""
        for x in operands or self._operands:
            tag = tag_of(x)
            if tag is not None and tag.part is not None:
                tag.part.write_into(x)
                tag.part = None
                note_version(x, tag)

    def _complete_views(self, x: Tensor) -> None:
        """Complete every tensor that shares memory with an operand that is about to be written to."""
        tag = tag_of(x)
        if tag is not None and tag.storage.shared:
            for reference in tag.storage.pending:
                if (view := reference()) is not None:
                    self.complete(view)

    def deactivate(self, x: Tensor) -> Tensor:
        """Return `x` with its deactivated positions set to zero: a checkpoint (Definition 5).

        Selects instead of multiplying by the mask, so that Inf and NaN vanish too. Works in place if no
        gradient, view or argument can be affected.
        """
        tag = self._tag(x)
        self.complete(x)
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
        """Whether dead positions of `x` may be overwritten: no gradient, view or argument depends on them."""
        gradients = self._gradients or torch.is_grad_enabled()  # backward may need the current values of x
        return not (gradients or tag.storage.shared or 0 in x.stride())

    def deactivate_(self, x: Tensor) -> Tensor:
        """Like :meth:`deactivate`, but always in place: for operations that write into `x`."""
        tag = self._tag(x)
        if tag is not None and tag.mask is not None:
            self._check_backward()
            if not self.is_clean(x):
                zero_(x, tag.mask)
        return x

    def spares_checkpoint(self, x: Tensor, channel: int) -> bool:
        """Whether an operation that computes each position only from the channels of that position needs no checkpoint.

        True if all channels of a position share one mask: the values of a deactivated position then reach only that
        position, which stays deactivated. With gradients it is False, because backward would multiply NaN by zero.
        """
        mask = self.mask(x)
        gradients = self._gradients or torch.is_grad_enabled()
        return mask is not None and mask.kept.shape[channel] == 1 and not gradients

    def window_input(self, x: Tensor, reach: Sequence[int], read: Tensor | None = None) -> Tensor:
        """`x` as active windows read it: deactivated, or with averaged borders if ``rule.border == "mean"``.

        `reach`: how far a window extends from an active position, for each of the last dimensions.
        `read`: where active windows read, if that is known; bool, broadcasts to `x`.
        """
        tag, clean = self._tag(x), self.deactivate(x)
        if tag is None or tag.mask is None or self.rule.border == "zero" or not any(reach):
            return clean
        if clean is x:  # it was clean already, or was deactivated in place
            clean, tag.clean = (x, False) if self._is_ours(x, tag) else (x.clone(), True)
        return fill_border_(clean, tag.mask, reach, read)

    def emit(
        self,
        out: _T,
        mask: PositionMask | None,
        *,
        clean: bool = False,
        part: Part | None = None,
        axes: Axes | None = None,
    ) -> _T:
        """Mark a result with its mask and return it.

        Parameters
        ----------
        out : Tensor
            The result. An in-place operation emits its operand.
        mask : PositionMask or None
            The mask of `out`, with as many dimensions as `out`, to which it broadcasts. None: everything is kept.
        clean : bool
            Whether `out` is already zero at its deactivated positions.
        part : Part, optional
            The computed part of `out`, if the rest is not written yet; :meth:`complete` writes all of it when needed.
        axes : Axes, optional
            What the dimensions of `out` are; by default they follow from the operation
            (:mod:`captum_ad._engine.dimensions`).

        Raises
        ------
        TypeError
            If `out` is not a tensor.
        ValueError
            If `mask` does not have as many dimensions as `out`.
        """
        if not isinstance(out, Tensor):
            raise TypeError(f"a rule emits tensors, got {type(out).__name__}: emit each tensor of a tuple by itself")
        if mask is not None:
            if len(mask.kept.shape) != out.dim():
                raise ValueError(
                    f"a rule emitted a mask of {mask.kept.dim()} dimensions for a tensor of {out.dim()}: "
                    "give the mask as many dimensions as its tensor"
                )
            if not any(mask is tag.mask for _, tag in self._tags) and mask.is_full(wait=False):
                mask = None
        axes = axes or self._axes_of(out)
        storage, old = self._storage_of(out)
        if any(out is operand for operand in self._operands):
            storage.writes += 1
            if old is None or not old.data or old.mask is not mask:
                storage.mask_writes += 1
        self._mark(out, Tag(self._run, True, mask, clean, storage, axes, part, (self._number, len(self._results))))
        if part is not None:
            storage.pending.append(weakref.ref(out))
        self._results.append(out)
        if self.provenance is not None:
            self.provenance.add(out)
        return out

    def constant(self, out: Tensor) -> Tensor:
        """Mark a result that depends on shapes only, not on the value of any feature, and return it."""
        storage, old = self._storage_of(out)
        if old is not None and old.data:
            storage.mask_writes += 1  # until now this memory held features
        self._mark(out, Tag(self._run, False, None, True, storage))
        return out

    def only(self, x: Tensor) -> None:
        """Refuse the operation if any operand other than `x` has a mask."""
        for operand in self._operands:
            if operand is not x and self.mask(operand) is not None:
                self.refuse("has a rule for one masked operand, but got several")

    # Axes

    def _axes_of(self, out: Tensor) -> Axes:
        """What the dimensions of a result are, derived from the operation and its operands."""
        known = {id(operand): tag.axes for operand, tag in self._tags if tag.data and tag.axes is not None}
        operands = list(known.values())
        if self._operation is None or not operands:
            return unknown(out.shape, operands)
        args, kwargs = self._arguments
        call = Call(self._operation, args, kwargs, lambda x: known.get(id(x)), out, len(self._results))
        apart = len(operands) < 2 or is_followed(self._operation)
        if not apart and mixes_samples(operands) and any(tag.mask is not None for _, tag in self._tags):
            self.refuse("mixes the samples of a batch (pass them one by one)")
        return axes_after(call, operands)
