"""Carries feature masks beside tensors through any Python ``forward`` (Algorithm 1).

Every torch call of the model passes through :meth:`Interpreter.__torch_function__`. A tensor made
from masked inputs wears a tag with its mask; an operation on it is run by the rule registered for
it; without a rule, the forward stops. Tensors whose origin was not seen are refused too, so that
compiled code cannot slip a tensor past its mask.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from types import MethodType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.axes import Axes, Role, axis
from captum_ad._engine.crop import Part, room_for
from captum_ad._engine.kept import KeptRun, dead_boxes, described
from captum_ad._engine.mask_rule import MaskRule
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.origins import call_depth, module_path
from captum_ad._engine.registry import TAKES_PARTS, OperationRule, is_in_place, may_write, name_of, rule_for
from captum_ad._engine.select import zeroed
from captum_ad._engine.static import NeedsValuesError
from captum_ad._engine.tags import Storage, Tag, is_as_noted, note_version, pointer_of, tag_of, take_tag, tensors_in
from captum_ad._engine.window_parts import WindowParts

_T = TypeVar("_T")
_RUNS = itertools.count()
_METADATA = frozenset(
    getattr(torch.Tensor, name)
    for name in (
        "size dim ndimension numel nelement stride storage_offset element_size get_device "
        "is_contiguous is_floating_point is_complex is_signed is_same_size __len__ __repr__ __format__ "
        "__hash__ requires_grad_ register_hook retain_grad is_inference is_conj is_pinned "
        "is_neg is_shared dim_order"
    ).split()
) | {
    getattr(torch, name)
    for name in (
        "is_floating_point is_complex is_same_size is_conj is_neg is_signed is_inference get_device numel result_type"
    ).split()
}

_SHOWN = (Tensor.__repr__, Tensor.__format__)

_TORCH_SPELLING = {"axis": "dim", "keepdims": "keepdim"}  # of arguments that torch also takes by numpy's names


class Interpreter(WindowParts):
    """One masked forward; rules know it as ``ad``.

    Parameters
    ----------
    model : nn.Module
        The model that is run under this mode; its parameters and buffers are constants.
    rule : MaskRule
        The four knobs.
    tau : float
        The threshold τ.
    constants : iterable of Tensor
        Arguments of the forward that hold no features.
    skip_dead : bool
        Do not compute what lies outside of a box that holds all that is active.
    kept : KeptRun, optional
        A run without masks to write down, or one of the same sample to compute only what differs from it.
    """

    carries_masks = True

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
        super().__init__(model, rule, tau, next(_RUNS), call_depth(), constants, skip_dead)
        self._kept = kept

    # The two ends of a forward

    def start(self, x: Tensor, mask: PositionMask | None) -> Tensor:
        """An input with its mask: the first checkpoint. The caller's tensor is not touched."""
        boxes = None
        if mask is None:
            start = x.view_as(x)
        elif self._kept is None or not self._kept.finished or (boxes := dead_boxes(mask, x.shape)) is None:
            start = zeroed(x, mask)
        else:
            start = room_for(x[:1], x.shape)
        storage = Storage(pointer_of(start))
        storage.shared = mask is None
        roles = [Role.SAMPLE, Role.CHANNEL] + [Role.POSITION] * (x.dim() - 2)
        axes = Axes(tuple(axis(role, size) for role, size in zip(roles, x.shape)))
        tag = Tag(self._run, True, mask, True, storage, axes)
        if boxes is not None and mask is not None:
            tag.part = Part(boxes, zeroed(boxes.of(x[:1]), mask.map(boxes.of)), x[:1])
            storage.pending.append(weakref.ref(start))
        self._mark(start, tag)
        return start

    def finish(self, out: Tensor) -> Tensor:
        """The model's output, deactivated where its positions still are, and without its tag."""
        tag = tag_of(out)
        if tag is None or not tag.data or tag.run != self._run:
            raise UnsupportedOperationError(
                f"the output of {type(self.model).__name__} does not come from the masked input by operations that "
                "could be followed, so the mask was lost on the way. Does the model leave torch's Python functions "
                "(ScriptModules, extensions, numpy)?"
            )
        self._tag(out)
        self._check_version(out, tag)
        self.complete(out)
        if tag.mask is not None:
            out = zeroed(out, tag.mask)
        return out

    def forget(self) -> None:
        """Take the tags off tensors that outlive the forward (in hooks, caches of the model, the caller's hands)."""
        for reference in self._marked:
            if (tensor := reference()) is not None:
                self.complete(tensor)
                take_tag(tensor)
        self._marked.clear()

    # Interception

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        outermost = self._operation is None and not self._aside
        self._number += outermost
        recording = self._kept if outermost and self._kept is not None and not self._kept.finished else None
        called = described(func, args, kwargs) if recording is not None else ()
        if recording is not None:
            recording.before(func, args, kwargs)
        outer = self._operation, self._arguments, self._operands, self._tags, self._results  # of a rule that follows
        self._operation, self._arguments, self._results = func, (args, dict(kwargs)), []
        self._operands = tensors_in(*args, *kwargs.values()) if kwargs else tensors_in(*args)
        tags = [(operand, tag) for operand in self._operands if (tag := self._tag(operand)) is not None]
        self._tags = tags
        for operand, tag in tags:
            self._check_version(operand, tag)
        try:
            out = self._run_operation(func, args, kwargs, [tag for _, tag in tags if tag.data])
        except NeedsValuesError:
            if not outermost:
                raise
            where = f"{name_of(func)}, called in {module_path(self.model)},"
            raise NeedsValuesError(f"{where} depends on the values of masks or features") from None
        finally:
            for operand, tag in tags:
                note_version(operand, tag)
            self._operation, self._arguments, self._operands, self._tags, self._results = outer
        if recording is not None:
            recording.add(called, out, needed=rule_for(func, True) in TAKES_PARTS)
        if tags:
            self._look_through_views(func, args, kwargs, out, tags)
        return out

    def _run_operation(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], tags: Sequence[Tag]
    ) -> Any:
        """By its rule, if any operand has a mask; as usual otherwise."""
        if not tags:
            return self._tagged(func(*args, **kwargs), data=False)
        if func in _METADATA:
            if func in _SHOWN:
                self.complete()
            return func(*args, **kwargs)
        self._check_destinations(func, args, kwargs)
        if may_write(func, args, kwargs) and self._operands:
            self._complete_views(self._operands[0])
        masked = [tag.mask for tag in tags if tag.mask is not None]
        rule = rule_for(func, bool(masked))
        if rule is None and any(tag.part is not None for tag in tags):
            rule = rule_for(func, True)
            rule = rule if rule in TAKES_PARTS else None
        if rule is None and getattr(func, "__name__", "") == "__get__":
            out = func(*args, **kwargs)
            if not isinstance(out, Tensor):
                return out  # a property such as x.shape
        if rule not in TAKES_PARTS:
            self.complete()
        if rule is not None:
            try:
                return self._emitted(self._call_by_name(rule, func, args, dict(kwargs)))
            except UnsupportedOperationError:
                if is_in_place(func) or not self._has_statistics_only(kwargs):
                    raise
        elif not self._has_statistics_only(kwargs) and any(bool(mask.dead.any()) for mask in masked):
            exported = " (if the model was exported, wrap the Python model)" if "aten." in str(func) else ""
            self.refuse(f"has no rule that carries a mask through it{exported}")
        # What misses statistics alone, of which no position is left, misses nothing: they are zero.
        args, kwargs = self._deactivated(func, (args, kwargs)) if masked else (args, kwargs)
        return self._tagged(func(*args, **kwargs), data=True)

    def kept_result(self, shape: Sequence[int]) -> Tensor | None:
        """The result of this operation in the kept run, if that has gone the same way."""
        if self._kept is None or self._operation is None:
            return None
        if any(tag.data and (tag.part is None or tag.part.outside is None) for _, tag in self._tags):
            return None  # something else that comes from features, such as weights: all of it may differ
        return self._kept.result(self._number, described(self._operation, *self._arguments), shape)

    def _check_destinations(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse to write features into memory of the model or of the caller, while nothing is written yet."""
        for x in tensors_in(args[:1] if is_in_place(func) else (), kwargs.get("out")):
            tag = tag_of(x)
            if tag is None or tag.storage.external:
                self.refuse("writes features into a tensor of the model")
            self._complete_views(x)

    def _has_statistics_only(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether no operand of the operation that has a mask is a map, or is written to."""
        return "out" not in kwargs and all(self.is_statistic(x) for x in self._operands if self.mask(x) is not None)

    def _deactivated(self, func: Callable[..., Any], arguments: _T) -> _T:
        """Arguments, zero where they are deactivated."""
        if is_in_place(func):
            for operand in self._operands:
                self.deactivate_(operand)
            return arguments
        return cast(_T, tree_map_only(Tensor, self.deactivate, arguments))

    def _call_by_name(
        self, rule: OperationRule, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Call a rule with arguments by name, in torch's spelling; the first operand goes by position."""
        own = isinstance(func, MethodType)  # a module's forward: its names are its own
        kwargs = {name if own else _TORCH_SPELLING.get(name, name): value for name, value in kwargs.items()}
        if not args and not own:
            args = [kwargs.pop(name) for name in ("input", "self", "tensors") if name in kwargs]
        unknown = _misfit(rule, 2 + len(args), tuple(kwargs))
        if unknown is not None:
            self.refuse(f"is called in a way that its rule does not know ({unknown})")
        return rule(self, func, *args, **kwargs)

    def _tagged(self, out: Any, data: bool) -> Any:
        """Tag the results of an operation that ran as usual."""
        for tensor in tensors_in(out):
            if data:
                self.emit(tensor, None)
            elif not any(tensor is operand for operand in self._operands):
                self.constant(tensor)
        return out

    def _emitted(self, out: _T) -> _T:
        """What a rule returned, if it has marked all of it."""
        for tensor in tensors_in(out):
            tag = tag_of(tensor)
            if tag is None or not is_as_noted(tensor, tag):
                raise TypeError(
                    f"the rule for {name_of(self._operation)} returned a tensor without saying which of its positions "
                    "are kept: return ad.emit(out, mask), and for a tuple emit each of its tensors"
                )
        return out


@lru_cache(maxsize=1024)
def _misfit(rule: OperationRule, count: int, names: tuple[str, ...]) -> str | None:
    """Why a rule cannot be called with that many arguments and these names; None if it can."""
    try:
        signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None
