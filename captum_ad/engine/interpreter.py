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
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from captum_ad.engine.border import fill_border
from captum_ad.engine.layout import Samples
from captum_ad.engine.masks import FeatureMask
from captum_ad.engine.origins import call_depth, has_own_backward, is_outer_constant, module_path, tensors_of
from captum_ad.engine.registry import OperationRule, rule_for
from captum_ad.engine.select import zero_, zeroed
from captum_ad.engine.tags import (
    Storage,
    Tag,
    is_left_behind,
    pointer_of,
    put_tag,
    tag_of,
    take_tag,
    tensors_in,
    version_of,
)
from captum_ad.errors import UnsupportedOperationError
from captum_ad.rule import MaskRule

_T = TypeVar("_T")
_RUNS = itertools.count()
_METADATA = frozenset(
    getattr(torch.Tensor, name)
    for name in (
        "size dim ndimension numel nelement stride storage_offset element_size get_device data_ptr "
        "is_contiguous is_floating_point is_complex is_signed is_same_size __len__ __repr__ __format__ "
        "__hash__ requires_grad_ register_hook retain_grad is_inference untyped_storage is_conj is_pinned"
    ).split()
) | {torch.is_floating_point, torch.is_complex, torch.is_same_size, torch.numel, torch.result_type}


INHERITED: Any = object()
_TORCH_SPELLING = {"axis": "dim", "keepdims": "keepdim"}  # of arguments that torch also takes by numpy's names


class Interpreter(TorchFunctionMode):
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
    """

    carries_masks = True

    def __init__(self, model: nn.Module, rule: MaskRule, tau: float, constants: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.model = model
        self.rule = rule
        self.tau = tau
        self._run = next(_RUNS)
        self._marked: list[weakref.ref[Tensor]] = []
        self._constants = {id(t): t for t in tensors_of(model) if not is_left_behind(t)}
        self._constants |= {id(t): t for t in constants}
        self._depth = call_depth()
        self._gradients = torch.is_grad_enabled()
        self._operation: Callable[..., Any] | None = None
        self._operands: list[Tensor] = []
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

    def samples(self, x: Tensor) -> Samples | None:
        """Where the samples of the batch are in an operand; None if they cannot be told from positions."""
        tag = self._tag(x)
        return tag.samples if tag else None

    def positions(self, x: Tensor) -> list[int]:
        """The dimensions of an operand that may hold positions or channels: all but that of the samples."""
        samples = self.samples(x)
        alone = samples is not None and samples.alone_in(x.shape)
        return [dim for dim in range(x.dim()) if not (alone and samples and dim == samples.dim)]

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
        gradients = self._gradients or torch.is_grad_enabled()  # backward may need what x holds now
        if gradients or tag.storage.shared or 0 in x.stride():
            return zeroed(x, tag.mask)
        zero_(x, tag.mask)
        tag.clean, tag.writes = True, tag.storage.writes
        return x

    def deactivate_(self, x: Tensor) -> None:
        """Like :meth:`deactivate`, into `x` itself, for operations that write into `x`."""
        tag = self._tag(x)
        if tag is not None and tag.mask is not None:
            self._check_backward()
            if not self.is_clean(x):
                zero_(x, tag.mask)

    def window_input(self, x: Tensor, reach: Sequence[int]) -> Tensor:
        """`x` as active windows read it: deactivated, or with averaged borders (knob ``border``).

        `reach` says for each of the last dimensions how far a window goes from an active position.
        """
        mask, x = self.mask(x), self.deactivate(x)
        if mask is None or self.rule.border == "zero":
            return x
        return fill_border(x, mask, reach)

    def emit(
        self, out: _T, mask: FeatureMask | None, *, clean: bool = False, samples: Samples | None = INHERITED
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
        samples : Samples, optional
            Where the samples are in `out`, None if unknown. If not given: where they are in an operand.
        """
        if not isinstance(out, Tensor):
            raise TypeError(f"a rule emits tensors, not {type(out).__name__}: emit each tensor of a tuple")
        if mask is not None:
            if len(mask.kept.shape) != out.dim():
                raise ValueError(f"mask of {mask.kept.dim()} dimensions emitted for a tensor of {out.dim()}")
            if not any(mask is self.mask(operand) for operand in self._operands) and mask.is_full():
                mask = None
        if samples is INHERITED:
            samples = self._inherited_samples(out)
        storage, old = self._storage_of(out)
        if any(out is operand for operand in self._operands):
            storage.writes += 1
            if old is None or not old.data or old.mask is not mask:
                if storage.external:
                    self.refuse("writes features into a tensor of the model")
                storage.mask_writes += 1
        self._mark(out, Tag(self._run, True, mask, clean, storage, samples))
        self._results.append(out)
        return out

    def constant(self, out: Tensor) -> Tensor:
        """Mark a result that depends on no feature's value, only on shapes, and return it."""
        storage, old = self._storage_of(out)
        if old is not None and old.data:
            storage.mask_writes += 1  # it held features so far
        self._mark(out, Tag(self._run, False, None, True, storage))
        return out

    def refuse(self, why: str) -> NoReturn:
        """Stop the forward: `why` completes "the operation … in module …"."""
        name = _name_of(self._operation)
        raise UnsupportedOperationError(
            f"{name}, called in {module_path(self.model)}, {why}: the feature mask would be lost, and the answer "
            f"silently wrong. Register a rule for it (captum_ad.register_rule; help(captum_ad.register_rule) has an "
            f"example), or rewrite the module with operations that have one."
        )

    def only(self, x: Tensor) -> None:
        """Refuse the operation if any other operand than `x` has a mask."""
        for operand in self._operands:
            if operand is not x and self.mask(operand) is not None:
                self.refuse("has a rule for one masked operand, and was given several")

    def follow(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Run a function with every operation in it intercepted: the rule of what is made of others that have one."""
        with self:
            return function(*args, **kwargs)

    # The two ends of a forward

    def start(self, x: Tensor, mask: FeatureMask | None) -> Tensor:
        """An input with its mask: the first checkpoint. The caller's tensor is not touched."""
        start = x.view_as(x) if mask is None else zeroed(x, mask)
        storage = Storage(pointer_of(start))
        storage.shared = mask is None
        self._mark(start, Tag(self._run, True, mask, True, storage, Samples(0, 1, len(x)) if x.dim() else None))
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
        if tag.mask is not None:
            out = zeroed(out, tag.mask)
        return out

    def forget(self) -> None:
        """Take the tags off tensors that outlive the forward (in hooks, caches of the model, the caller's hands)."""
        for reference in self._marked:
            if (tensor := reference()) is not None:
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
        outer = self._operation, self._operands, self._results  # of a rule that follows a function
        self._operation, self._results = func, []
        self._operands = tensors_in(args, kwargs)
        tags = [(operand, tag) for operand in self._operands if (tag := self._tag(operand)) is not None]
        for operand, tag in tags:
            self._check_version(operand, tag)
        try:
            return self._run_operation(func, args, kwargs, [tag for _, tag in tags if tag.data])
        finally:
            for operand, tag in tags:
                tag.storage.version = version_of(operand)
            self._operation, self._operands, self._results = outer

    def _run_operation(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], tags: Sequence[Tag]
    ) -> Any:
        """By its rule, if any operand has a mask; as usual otherwise."""
        if not tags:
            return self._tagged(func(*args, **kwargs), data=False)
        if func in _METADATA:
            return func(*args, **kwargs)
        masked = [tag.mask for tag in tags if tag.mask is not None]
        rule = rule_for(func, bool(masked))
        if rule is not None:
            out = rule(self, func, *args) if not kwargs else self._call_by_name(rule, func, args, dict(kwargs))
            return self._emitted(out)
        if getattr(func, "__name__", "") == "__get__" and not isinstance(out := func(*args, **kwargs), Tensor):
            return out  # a property such as x.shape
        if any(bool(mask.dead.any()) for mask in masked):
            exported = " (if the model was exported, wrap the Python model)" if "aten." in str(func) else ""
            self.refuse(f"has no rule that carries a mask through it{exported}")
        return self._tagged(func(*args, **kwargs), data=True)

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
            if tag is None or tag.storage.version != version_of(tensor):
                raise TypeError(
                    f"the rule for {_name_of(self._operation)} returned a tensor without saying which of its positions "
                    "are kept: return ad.emit(out, mask), and for a tuple emit each of its tensors"
                )
        return out

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
            if not isinstance(x, nn.Parameter) and id(x) not in self._constants:
                self._adopt(x)
            return None
        if tag.data and tag.run != self._run:
            self.refuse("got a tensor of another masked forward that is under way")
        if tag.mask_writes != tag.storage.mask_writes:
            self.refuse("got a tensor whose memory was given other features through another view of it")
        return tag

    def _adopt(self, x: Tensor) -> None:
        """Take a tensor that was not seen before for a constant, if it is certain to be one."""
        if is_left_behind(x):
            self.refuse("got a tensor that an earlier forward computed from its features, and kept")
        if not is_outer_constant(x, self._depth):
            self.refuse(
                f"got a tensor of shape {tuple(x.shape)} that no operation seen here has made (from a ScriptModule, an "
                "extension, numpy or a legacy constructor; if it is a constant, make it a buffer of its module)"
            )
        self._constants[id(x)] = x

    def _check_version(self, x: Tensor, tag: Tag) -> None:
        if version_of(x) != tag.storage.version:
            self.refuse("got a tensor that was written to by code that could not be followed (compiled, or numpy)")

    def _inherited_samples(self, out: Tensor) -> Samples | None:
        """Where the samples are in an operand of as many dimensions, if they can be there in the result."""
        for operand in self._operands:
            tag = tag_of(operand)
            if tag is not None and tag.samples is not None and operand.dim() == out.dim():
                dim = tag.samples.dim
                return tag.samples if operand.shape[dim] == out.shape[dim] else None
        return None

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


@lru_cache(maxsize=1024)
def _misfit(rule: OperationRule, count: int, names: tuple[str, ...]) -> str | None:
    """Why a rule cannot be called with that many arguments and these names; None if it can."""
    try:
        signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None


def _name_of(operation: Callable[..., Any] | None) -> str:
    if operation is None:
        return "the model's output"
    owner = getattr(operation, "__self__", None)
    if isinstance(operation, MethodType):
        kind = owner if isinstance(owner, type) else type(owner)
        return f"{kind.__name__}.{operation.__name__}"
    name = resolve_name(operation) or getattr(owner, "__name__", "") or getattr(operation, "__name__", repr(operation))
    return f"operation {name}"
