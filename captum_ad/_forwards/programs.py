"""Compiled masked forwards: one program per input shape, valid for all masks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine import Interpreter, PositionMask
from captum_ad._engine.origins import modules_of, tensors_of
from captum_ad._engine.provenance import UnknownOriginError
from captum_ad._engine.recording import recorded
from captum_ad._engine.registry import rules_version
from captum_ad._forwards.arguments import Arranged
from captum_ad._forwards.compiled import CAN_RUN_EAGERLY, is_compiled
from captum_ad._forwards.following import followed

if TYPE_CHECKING:
    from captum_ad._forwards.ad_forward import ADForward


_PLAIN = frozenset((bool, int, float, str, type(None)))


@dataclass(frozen=True)
class Program:
    """A model under masks, compiled.

    Attributes
    ----------
    model : Module
        The model.
    run : callable, optional
        The compiled function of tensors; None: it could not be compiled, so the model has to run eagerly.
    by_sample : bool
        Whether the first dimension of all its results is the batch.
    """

    model: nn.Module
    run: Callable[..., Any] | None
    by_sample: bool

    def call(self, tensors: Sequence[Tensor], samples: int | None = None) -> Call | None:
        """The call of this program; `samples`: how many samples of its result to return."""
        return None if self.run is None else Call(self.run, tensors, samples)


@dataclass(frozen=True)
class Call:
    """A program, the tensors to run it on, and how many samples of its result to return (None: all)."""

    program: Callable[..., Any]
    tensors: Sequence[Tensor]
    samples: int | None

    def __call__(self) -> Any:
        """Run the program."""
        kinds = {x.device.type for x in self.tensors}
        with ExitStack() as apart:
            for kind in filter(torch.is_autocast_enabled, kinds):  # autocast's conversions are in the program already
                apart.enter_context(torch.autocast(kind, enabled=False))
            found = self.program(*self.tensors)
        return found if self.samples is None else tree_map(lambda x: x[: self.samples], found)


class Programs:
    """The programs of a forward, and of its copies with other targets.

    Parameters
    ----------
    options : mapping
        Keyword arguments of torch.compile.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self._programs: dict[Hashable, dict[int | None, Program]] = {}
        self._plain: dict[int, Any] = {}
        self._changing: set[int] = set()  # ids of models whose forward changes their own attributes
        self._told = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Programs:
        return Programs(self.options)

    def __reduce__(self) -> Any:
        return Programs, (self.options,)

    def plain(self, model: nn.Module) -> Any:
        """The model itself, compiled."""
        if id(model) not in self._plain:
            self._plain[id(model)] = model if is_compiled(model) else torch.compile(model, **self.options)
        return self._plain[id(model)]

    def call(self, forward: ADForward, given: Arranged, masks: Sequence[PositionMask | None]) -> Call | None:
        """The program for a call, with the tensors to run it on; None if the call has to run eagerly.

        Parameters
        ----------
        forward : ADForward
            The model, and how masks pass through it.
        given : Arranged
            The arguments of the call.
        masks : sequence of (PositionMask or None)
            The mask of each input.
        """
        model = forward.model
        if any(module.training for module in modules_of(model)) or id(model) in self._changing:
            return None
        if torch.is_inference_mode_enabled() and not CAN_RUN_EAGERLY:  # older compilers fail in inference mode
            return None
        slots = _Slots(given, masks)
        if not slots.are_plain:
            self._tell(forward, "it takes arguments that are not tensors, numbers or strings")
            return None
        kinds = sorted({x.device.type for x in slots.tensors})
        held = tensors_of(model)
        key = (
            id(model), _attributes_of(model), forward.rule, forward.tau, forward.select, forward.takes_whole,
            rules_version(), slots.key,
            tuple((id(x), x.dtype, x.device) for x in held), torch.is_grad_enabled(),
            tuple((kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds),
        )  # fmt: skip
        sizes = self._programs.setdefault(key, {})
        samples = slots.samples
        size = samples if samples is None or samples in sizes else _size_for(samples, sizes)
        if size is not None and size != samples:
            padded = slots.padded(size)
            made = self._program(sizes, size, forward, padded, held)
            if made.by_sample:
                return made.call(padded.tensors, samples)
        return self._program(sizes, samples, forward, slots, held).call(slots.tensors)

    def _program(
        self,
        sizes: dict[int | None, Program],
        size: int | None,
        forward: ADForward,
        slots: _Slots,
        held: Sequence[Tensor],
    ) -> Program:
        if size not in sizes:
            run, by_sample = self._made(forward, slots, held)
            sizes[size] = Program(forward.model, run, by_sample)
        return sizes[size]

    def _made(
        self, forward: ADForward, slots: _Slots, held: Sequence[Tensor]
    ) -> tuple[Callable[..., Any] | None, bool]:
        def graph(memory: bool) -> fx.GraphModule:
            def run(*tensors: Tensor) -> Any:
                return followed(forward, Interpreter, *slots.filled(tensors), skip_dead=False, memory=memory)

            return _graph_of(run, slots.tensors, held)

        before = _attributes_of(forward.model)
        try:
            try:
                made = graph(memory=False)
            except UnknownOriginError:
                made = graph(memory=True)
        except UnsupportedOperationError as error:
            self._tell(forward, str(error))
            return None, True
        if _attributes_of(forward.model) != before:
            self._changing.add(id(forward.model))
            self._tell(forward, "its forward changes its own attributes")
            return None, True
        by_sample = all(len(shape) and shape[0] == slots.samples for shape in made.meta["shapes"])
        return torch.compile(made, **self.options), by_sample

    def _tell(self, forward: ADForward, why: str) -> None:
        if not self._told:
            self._told = True
            name = type(forward.model).__name__
            warnings.warn(f"masked forwards of {name} run uncompiled: {why}", stacklevel=7)


_ambient: ContextVar[Programs | None] = ContextVar("programs", default=None)


@contextmanager
def compiled_forwards(**options: Any) -> Iterator[None]:
    """Context manager under which every new ADForward is compiled; those of one model share their programs.

    Parameters
    ----------
    **options
        Keyword arguments of ``torch.compile``.
    """
    token = _ambient.set(Programs(options))
    try:
        yield
    finally:
        _ambient.reset(token)


def ambient_programs() -> Programs | None:
    """The programs for new forwards inside :func:`compiled_forwards`; None outside of it."""
    return _ambient.get()


class _Slots:
    """The arguments of a call, with slots for its tensors, which can be filled with other tensors."""

    def __init__(self, given: Arranged, masks: Sequence[PositionMask | None]) -> None:
        self._given, self._count = given, len(masks)
        self._values = [*given.inputs, *(None if mask is None else mask.kept for mask in masks), *given.more.values()]
        self._places = [i for i, value in enumerate(self._values) if isinstance(value, Tensor)]
        self.tensors = [_dense(self._values[i]) for i in self._places]

    @property
    def are_plain(self) -> bool:
        """Whether all arguments other than tensors are plain values, so that a program can be looked up by them."""
        leaves = tree_flatten([value for value in self._values if not isinstance(value, Tensor)])[0]
        return _PLAIN.issuperset(map(type, leaves))

    @property
    def samples(self) -> int | None:
        """The batch size if samples can be added: all tensors are masked inputs or their masks; else None."""
        found = {len(x) for x, at in zip(self.tensors, self._places) if at < self._count}
        masked = all(self._values[self._count + at] is not None for at in self._places if at < self._count)
        return found.pop() if len(found) == 1 and masked and max(self._places) < 2 * self._count else None

    @property
    def key(self) -> Hashable:
        """Everything that a program depends on, except the tensors' values and the batch size."""
        samples, tensors = self.samples, []
        for x, at in zip(self.tensors, self._places):
            alike = samples is not None and (at < self._count or len(x) == samples > 1)
            size, strides = ("samples", x.stride()[1:]) if alike else (len(x) if x.dim() else 0, x.stride())
            tensors.append((size, x.shape[1:], strides, x.dtype, x.device, x.requires_grad))
        others = tuple(repr(value) for value in self._values if not isinstance(value, Tensor))
        return self._count, self._given.names, tuple(self._given.more), tuple(self._places), tuple(tensors), others

    def padded(self, size: int) -> _Slots:
        """The call with copies of the last sample added, up to batch size `size`."""
        n, more = self.samples, copy.copy(self)
        more.tensors = [
            torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])]) if at < self._count or len(x) == n != 1 else x
            for x, at in zip(self.tensors, self._places)
        ]
        return more

    def filled(self, tensors: Sequence[Tensor]) -> tuple[Arranged, list[PositionMask | None]]:
        """The call with other tensors in its slots, and the masks among them."""
        values, n = list(self._values), self._count
        for place, x in zip(self._places, tensors):
            values[place] = x
        more = dict(zip(self._given.more, values[2 * n :]))
        masks = [None if kept is None else PositionMask(kept) for kept in values[n : 2 * n]]
        return Arranged(tuple(values[:n]), (None,) * n, self._given.names, more), masks


def _attributes_of(model: nn.Module) -> tuple[Any, ...]:
    """The plain attributes (numbers, strings, flags) of all modules, on which their results may depend."""
    return tuple(
        (name, value) for module in modules_of(model) for name, value in vars(module).items() if type(value) in _PLAIN
    )


def _size_for(samples: int, sizes: Collection[int | None]) -> int:
    """The batch size with which to run this many samples: that of an existing program, or of a new one.

    Programs take long to compile, so there are only a few: for the first batch size, and for powers of two.
    """
    enough = [size for size in sizes if size is not None and samples <= size <= 2 * samples]
    return min(enough, default=1 << (samples - 1).bit_length() if sizes else samples)


def _graph_of(run: Callable[..., Any], tensors: Sequence[Tensor], held: Sequence[Tensor]) -> fx.GraphModule:
    """The computation as a graph that includes autocast's conversions."""
    caching, gradients = torch.is_autocast_cache_enabled(), torch.is_grad_enabled()
    torch.clear_autocast_cache()  # weights in the cache would become constants of the graph
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            return recorded(run, tensors, held)
    finally:
        torch.set_autocast_cache_enabled(caching)


def _dense(x: Tensor) -> Tensor:
    """The tensor, made contiguous if ``torch.empty_like`` would not keep its strides."""
    return x if torch.empty_like(x).stride() == x.stride() else x.contiguous()
