"""Bookkeeping of a masked forward: where each tensor comes from, which memory it shares, and what wrote to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.origins import has_own_backward, module_path, tensors_of
from captum_ad._engine.provenance import Provenance, UnknownOriginError
from captum_ad._engine.registry import name_of, rule_for
from captum_ad._engine.tags import (
    Storage,
    Tag,
    is_as_noted,
    is_left_behind,
    not_left_behind,
    pointer_of,
    put_tag,
    tag_of,
)
from captum_ad._engine.views import overlaps_itself, views_of

_T = TypeVar("_T")


class Memory(TorchFunctionMode):
    """The tags of the operands and results of the operation that is running.

    Parameters
    ----------
    model : nn.Module
        The model that is run; its parameters and buffers are constants.
    run : int
        Number of this forward, unique in the process.
    depth : int
        Call depth at which it began.
    constants : iterable of Tensor
        Arguments of the forward that hold no features.
    """

    def __init__(self, model: nn.Module, run: int, depth: int, constants: Iterable[Tensor]) -> None:
        super().__init__()
        self.model = model
        self.provenance: Provenance | None = None
        self._run = run
        self._depth = depth
        self._marked: list[weakref.ref[Tensor]] = []
        self._constants = {id(t): t for t in not_left_behind(tensors_of(model))}
        self._constants |= {id(t): t for t in constants}
        self._gradients = torch.is_grad_enabled()
        self._operation: Callable[..., Any] | None = None
        self._arguments: tuple[Sequence[Any], dict[str, Any]] = (), {}
        self._operands: list[Tensor] = []
        self._tags: list[tuple[Tensor, Tag]] = []  # of the operands, as they were before the operation
        self._results: list[Tensor] = []
        self._number = -1  # index of the model's operation that is running; operations inside rules do not count
        self._aside = False  # whether the engine runs an operation that is not the model's

    def follow(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Run a function with every operation in it intercepted: for operations made of others that have rules."""
        with self:
            return function(*args, **kwargs)

    def refuse(self, why: str, kind: type[UnsupportedOperationError] = UnsupportedOperationError) -> NoReturn:
        """Stop the forward with an error; `why` completes "operation …, called in module …, "."""
        if rule_for(self._operation, masked=True) is None:
            advice = (
                "Register a rule for it (help(captum_ad.register_rule) has an example), or rewrite the module with "
                "operations that have one."
            )
        else:
            advice = (
                "The operation has a rule, but not for this use: rewrite the module, or register another rule "
                "(help(captum_ad.register_rule) has an example)."
            )
        raise kind(
            f"{name_of(self._operation)}, called in {module_path(self.model)}, {why}: the feature mask would be lost, "
            f"and the answer silently wrong. {advice}"
        )

    # Where tensors come from

    def _tag(self, x: Tensor) -> Tag | None:
        tag = tag_of(x)
        if tag is None:
            if id(x) not in self._constants:
                self._adopt(x)
            return None
        if tag.data and tag.run != self._run:
            self.refuse("got a tensor of another masked forward that is still running")
        return tag if tag.mask_writes == tag.storage.mask_writes else self._renewed(x, tag)

    def _adopt(self, x: Tensor) -> None:
        """Treat a tensor that was not seen before as a constant if it certainly is one; refuse it otherwise."""
        if is_left_behind(x):
            self.refuse("got a tensor that the model computed from features in an earlier forward and kept")
        if self.provenance is None or self.provenance.is_of_features(x):
            self.refuse(
                f"got a tensor of shape {tuple(x.shape)} that comes from features but was made by code that could not "
                "be followed (a ScriptModule, an extension, numpy or nn.Parameter)",
                UnsupportedOperationError if self.provenance else UnknownOriginError,
            )
        self._constants[id(x)] = x

    def _is_feature(self, x: Tensor) -> bool:
        """Whether a tensor of this forward carries a mask."""
        tag = tag_of(x)
        return tag is not None and tag.data and tag.run == self._run

    def _is_constant(self, x: Tensor) -> bool:
        """Whether a tensor certainly holds no features of this forward, and nothing has written any into it."""
        tag = self._tag(x) if tag_of(x) is not None else None
        if tag is not None:
            self._check_version(x, tag)
            return not tag.data
        if self.provenance is None or x.layout != torch.strided or is_left_behind(x):
            return False
        return not self.provenance.is_of_features(x)

    def _check_version(self, x: Tensor, tag: Tag) -> None:
        if not is_as_noted(x, tag):
            self.refuse("got a tensor that was written to by code that could not be followed (compiled code or numpy)")

    def _check_backward(self) -> None:
        """Refuse to deactivate inside code that computes its own gradients, which would ignore the mask."""
        if self._gradients and has_own_backward(self._depth):
            self.refuse(
                "runs inside torch.utils.checkpoint or an autograd function, whose backward ignores masks "
                "(call it under torch.no_grad(), switch checkpointing off, or register a rule for the function)"
            )

    # Which memory they share

    def _storage_of(self, out: Tensor) -> tuple[Storage, Tag | None]:
        """The storage record of a result, shared with any operand or other result that has the same memory."""
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

    # Writes through views

    def _look_through_views(
        self, op: Callable[..., Any], args: Any, kwargs: Any, out: Any, tags: Sequence[tuple[Tensor, Tag]]
    ) -> None:
        """Note which results are views of operands, and pass writes to a view on to the tensor it is a view of."""
        for view, x, index in views_of(op, args, kwargs, out):
            if (tag := tag_of(view)) is not None and view is not x:
                tag.view_of = x, index
        for operand, before in tags:
            if before.view_of is not None:
                self._write_through(operand, before, *before.view_of)

    def _beside(self, function: Callable[..., _T], *args: Any) -> _T:
        """Like :meth:`follow`, for operations that are the engine's and not the model's."""
        before, self._aside = self._aside, True
        try:
            return self.follow(function, *args)
        finally:
            self._aside = before

    def _renewed(self, x: Tensor, tag: Tag) -> Tag:
        """The new tag of a view whose memory was written to, found by taking the view again."""
        if tag.view_of is None:
            self.refuse("got a tensor whose memory was overwritten with other features through another view")
        whole, index = tag.view_of
        again = tag_of(self._beside(whole.__getitem__, index))
        assert again is not None
        again.view_of = tag.view_of
        put_tag(x, again)
        return again

    def _write_through(self, view: Tensor, before: Tag, x: Tensor, index: Any) -> None:
        """Update the tag of the tensor that a view belongs to after a write to the view: ``x[index] = view``."""
        after, of_x = tag_of(view), tag_of(x)
        if after is None or after is before:
            return
        after.view_of, writes = before.view_of, after.storage.mask_writes
        if of_x is None or not before.mask_writes == of_x.mask_writes == writes - 1 or overlaps_itself(x):
            return
        whole: Tag | None = of_x
        while whole is not None and whole.mask_writes == before.mask_writes:
            whole.mask_writes = writes  # until this write they were up to date
            whole = tag_of(whole.view_of[0]) if whole.view_of is not None else None
        self._beside(x.__setitem__, index, view)
        after.mask_writes = after.storage.mask_writes
