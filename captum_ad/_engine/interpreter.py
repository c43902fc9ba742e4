"""Carries position masks beside tensors through any Python ``forward`` (Algorithm 1).

Every torch call of the model passes through :meth:`Interpreter.__torch_function__`. A tensor computed
from masked inputs has a tag that holds its mask. An operation on such a tensor is run by the rule
registered for it (the body of Algorithm 1's loop); if there is no rule, the forward stops with an error.
A tensor of unknown origin stops it too, so that compiled code cannot return a tensor without its mask.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.axes import Axes, Role, axis
from captum_ad._engine.crop import Part, room_for
from captum_ad._engine.kept import dead_boxes, described
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.origins import module_path
from captum_ad._engine.outputs import holds
from captum_ad._engine.provenance import UnknownOriginError
from captum_ad._engine.registry import TAKES_PARTS, OperationRule, is_in_place, may_write, name_of, rule_for
from captum_ad._engine.select import zeroed
from captum_ad._engine.static import NeedsValuesError
from captum_ad._engine.tags import Storage, Tag, is_as_noted, note_version, pointer_of, tag_of, take_tag, tensors_in
from captum_ad._engine.window_parts import WindowParts

_T = TypeVar("_T")
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

_TORCH_SPELLING = {"axis": "dim", "keepdims": "keepdim"}  # torch also accepts NumPy's names of these arguments


class Interpreter(WindowParts):
    """One masked forward (Algorithm 1, see :mod:`captum_ad._engine.definitions`); rules receive it as ``ad``.

    Parameters
    ----------
    model : nn.Module
        The model that is run under this mode. Its parameters and buffers are constants: they hold no features.
    rule : MaskRule
        The four knobs.
    tau : float
        The threshold τ.
    constants : iterable of Tensor
        Arguments of the forward that hold no features.
    skip_dead : bool
        Compute only a box around the active positions, where that is faster.
    kept : KeptRun, optional
        If unfinished, the results of this forward (without masks) are recorded in it. If finished, a run
        of the same sample without masks: only what differs from it is computed.
    """

    carries_masks = True

    # The two ends of a forward

    def start(self, x: Tensor, mask: PositionMask | None) -> Tensor:
        """A new tensor for an input, deactivated and tagged with its mask: the first checkpoint."""
        boxes = None
        if mask is None:
            start = x.view_as(x)
        elif self._kept is None or not self._kept.finished or (boxes := dead_boxes(mask, x.shape)) is None:
            start = zeroed(x, mask)
        else:
            start = room_for(x[:1], x.shape)
        storage = Storage(pointer_of(start), shared=mask is None)
        roles = [Role.SAMPLE, Role.CHANNEL] + [Role.POSITION] * (x.dim() - 2)
        axes = Axes(tuple(axis(role, size) for role, size in zip(roles, x.shape)))
        tag = Tag(self._run, True, mask, True, storage, axes)
        if boxes is not None and mask is not None:
            tag.part = Part(boxes, zeroed(boxes.of(x[:1]), mask.map(boxes.of)), x[:1])
            storage.pending.append(weakref.ref(start))
        self._mark(start, tag)
        return start

    def finish(self, output: Any) -> Any:
        """The model's output, without tags and zero where still deactivated; some of its tensors may be constants."""
        leaves = tree_leaves(output)
        found = [x for x in leaves if isinstance(x, Tensor)]
        features = [x for x in found if self._is_feature(x)]
        if found and not (features and all(self._is_feature(x) or self._is_constant(x) for x in found)):
            raise (UnknownOriginError if features and self.provenance is None else UnsupportedOperationError)(
                f"the output of {type(self.model).__name__} does not come from the masked input by operations that can "
                "be followed, so the mask was lost. Is it computed outside torch (ScriptModules, extensions, numpy)?"
            )
        for leaf in leaves:
            if not isinstance(leaf, Tensor) and holds(leaf, self._is_feature):
                raise UnsupportedOperationError(
                    f"{type(self.model).__name__} returns an object ({type(leaf).__name__}) that holds masked tensors: "
                    "return a tuple, list or dict, or pick a tensor by select="
                )
        return tree_map_only(Tensor, self._finished, output)

    def _finished(self, out: Tensor) -> Tensor:
        tag = self._tag(out) if self._is_feature(out) else None
        if tag is None:
            return out
        self._check_version(out, tag)
        self.complete(out)
        return out if tag.mask is None else zeroed(out, tag.mask)

    def forget(self) -> None:
        """Remove the tags of tensors that outlive the forward (held by hooks, caches of the model or the caller)."""
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
        if not _TORCH_SPELLING.keys().isdisjoint(kwargs) and not isinstance(func, (FunctionType, MethodType)):
            kwargs = {_TORCH_SPELLING.get(name, name): value for name, value in kwargs.items()}
        outermost = self._operation is None and not self._aside
        self._number += outermost
        recording = self._kept if outermost and self._kept is not None and not self._kept.finished else None
        called = described(func, args, kwargs) if recording is not None else ()
        if recording is not None:
            recording.before(func, args, kwargs)
        # Operations nest where a rule calls ad.follow: save the state of the outer one.
        outer = self._operation, self._arguments, self._operands, self._tags, self._results
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
        """Run an operation: by its rule if any operand has a mask, and as torch does otherwise."""
        if not tags:
            return self._tagged(func(*args, **kwargs), data=False)
        if func in _METADATA:
            if func in (Tensor.__repr__, Tensor.__format__):
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
        # No rule, but the only masked operands are statistics, which have no positions to lose: set them to zero.
        args, kwargs = self._deactivated(func, (args, kwargs)) if masked else (args, kwargs)
        return self._tagged(func(*args, **kwargs), data=True)

    def _check_destinations(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse to write features into memory of the model or of the caller, before anything is written."""
        for x in tensors_in(args[:1] if is_in_place(func) else (), kwargs.get("out")):
            tag = tag_of(x)
            if tag is None or tag.storage.external:
                self.refuse("writes features into a tensor of the model")
            self._complete_views(x)

    def _has_statistics_only(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether every masked operand is a statistic (none is a map), and the result has no ``out=``."""
        return "out" not in kwargs and all(self.is_statistic(x) for x in self._operands if self.mask(x) is not None)

    def _deactivated(self, func: Callable[..., Any], arguments: _T) -> _T:
        """The arguments of an operation, set to zero where they are deactivated."""
        if is_in_place(func):
            for operand in self._operands:
                self.deactivate_(operand)
            return arguments
        return cast(_T, tree_map_only(Tensor, self.deactivate, arguments))

    def _call_by_name(
        self, rule: OperationRule, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Call a rule; the first operand is positional."""
        if not args and not isinstance(func, MethodType):  # a module's forward has argument names of its own
            args = [kwargs.pop(name) for name in ("input", "self", "tensors") if name in kwargs]
        unknown = _misfit(rule, 2 + len(args), tuple(kwargs))
        if unknown is not None:
            self.refuse(f"was called with arguments that its rule does not accept ({unknown})")
        return rule(self, func, *args, **kwargs)

    def _tagged(self, out: Any, data: bool) -> Any:
        """Tag the results of an operation that ran without a rule; `data`: whether they come from features."""
        for tensor in tensors_in(out):
            if data:
                self.emit(tensor, None)
            elif not any(tensor is operand for operand in self._operands):
                self.constant(tensor)
        return out

    def _emitted(self, out: _T) -> _T:
        """Return what a rule returned, after checking that every tensor in it was emitted."""
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
    """Why a rule cannot be called with `count` positional arguments and these keywords; None if it can."""
    try:
        signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None
