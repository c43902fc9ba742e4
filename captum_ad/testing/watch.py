"""Watch every result of a forward, and overwrite deactivated values: how checks find the operation at fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine import PositionMask
from captum_ad._engine.axes import Axes
from captum_ad._engine.origins import running_module
from captum_ad._engine.tags import Tag, note_version, tag_of, tensors_in
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.arguments import arrange
from captum_ad.trace.recorder import Record, Tracer, short_name
from captum_ad.trace.records import Checkpoint


class Result(NamedTuple):
    """The result of an operation."""

    checkpoint: Checkpoint
    values: Tensor
    """A copy of the values, zero where deactivated."""
    axes: Axes | None
    """The roles of its dimensions."""
    of_nothing: bool
    """Whether nothing is kept in any operand."""


Run = Callable[[Callable[[Result], None]], Any]
"""A function that runs a model and calls its argument with each result, in order of execution."""
Alike = Callable[[Result, Result], bool]


class Broken(Exception):
    """A masked forward raised an error, in this module (path and type) at this operation."""

    def __init__(self, error: Exception, module: tuple[str, str] | None, operation: str) -> None:
        refused = isinstance(error, UnsupportedOperationError)
        super().__init__(str(error) if refused else f"{type(error).__name__}: {error}")
        self.module = module
        self.operation = operation


class Watch(Tracer):
    """A tracer that passes each operation's result to a callback.

    Parameters
    ----------
    seen : callable, optional
        Called with each result.
    junk : float, optional
        Written to the deactivated positions of each result, unless the engine knows that they are zero. It must have
        no effect, because no operation may read deactivated positions.
    """

    def __init__(
        self, record: Record, *args: Any, seen: Callable[[Result], None] | None, junk: float | None, **kwargs: Any
    ) -> None:
        super().__init__(record, *args, **kwargs)
        self.stopped: tuple[tuple[str, str], str] | None = None  # module and operation where an error occurred
        self._seen = seen
        self._junk = junk

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation, and pass its results to the callback."""
        if self._inside:
            return super().__torch_function__(func, types, args, kwargs)
        known, operands = len(self._record.operations), tensors_in(args, kwargs or {})
        masks = [tag.mask for _, tag in _with_features(operands)]
        of_nothing = not any(mask is None or bool(mask.kept.any()) for mask in masks)
        try:
            out = super().__torch_function__(func, types, args, kwargs)
        except Exception:
            self.stopped = self.stopped or (running_module(self.model), short_name(func))
            raise
        if self._seen is not None:
            results = _with_features(tensors_in(operands[:1] if out is None else out))
            for checkpoint, (x, tag) in zip(self._record.operations[known:], results):
                self._seen(Result(checkpoint, _copied(x, tag), tag.axes, of_nothing))
        return out

    def emit(self, out: Any, mask: PositionMask | None, **kwargs: Any) -> Any:
        """Mark a result with its mask, and write junk where it is deactivated."""
        out = super().emit(out, mask, **kwargs)
        tag = tag_of(out)
        if self._junk is not None and tag is not None and tag.mask is not None and _is_its_own(out, tag):
            known_zero = tag.clean and not bool(out.masked_select(tag.mask.dead).any())
            if not known_zero:
                out.masked_fill_(tag.mask.dead, torch.tensor(self._junk).to(out.dtype))
                note_version(out, tag)
        return out


def watched(
    ad: ADForward,
    x: Tensor,
    mask: Tensor | None,
    seen: Callable[[Result], None] | None = None,
    junk: float | None = None,
) -> Tensor:
    """Run ``ad(x, mask=mask)`` under a :class:`Watch`, even if nothing is masked (None), without skipping any work.

    Raises
    ------
    Broken
        If the forward raises an error.
    """
    whole = ADForward(ad.model, ad.rule, tau=ad.tau, select=ad.select, target=ad.target, skip_dead=False)
    given = arrange((x,), torch.ones_like(x, dtype=torch.bool) if mask is None else mask, {})
    masks = whole._masks(given)
    engines: list[Watch] = []

    def engine(*args: Any, **kwargs: Any) -> Watch:
        engines.append(Watch(Record((x,), masks), *args, seen=seen, junk=junk, **kwargs))
        return engines[0]

    try:
        return whole._score(whole._run(engine, given, masks, always=True), (x,), {})
    except Exception as error:
        stopped = engines[0].stopped if engines else None
        raise Broken(error, *(stopped or (None, ""))) from error


def run(ad: ADForward, x: Tensor, mask: Tensor | None, junk: float | None = None) -> Run:
    """A run, to compare with another one."""
    return partial(watched, ad, x, mask, junk=junk)


def first_difference(reference: Run, other: Run | None, alike: Alike) -> Checkpoint | None:
    """The first operation where two runs of a model have different results or run different operations.

    Without another run, the first operation whose result is not finite.
    """
    found: list[Checkpoint] = []
    expected: list[Result | None] = []

    def remember(result: Result) -> None:
        if other is not None:
            expected.append(result)
        elif not found and not bool(result.values.isfinite().all()):
            found.append(result.checkpoint)

    numbers = itertools.count()

    def compare(result: Result) -> None:
        number = next(numbers)
        if found:
            return
        before = expected[number] if number < len(expected) else None
        same = before is not None and before.checkpoint.operation == result.checkpoint.operation
        if before is None or not same or not alike(before, result):
            found.append(result.checkpoint)
        else:
            expected[number] = None  # free memory

    reference(remember)
    if other is not None:
        other(compare)
    return found[0] if found else None


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, with NaN equal to NaN."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def equal(a: Result, b: Result) -> bool:
    """Whether two results are equal, bit for bit."""
    return same_bits(a.values, b.values)


def _with_features(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tag]]:
    return [(x, tag) for x in tensors if (tag := tag_of(x)) is not None and tag.data]


def _is_its_own(x: Tensor, tag: Tag) -> bool:
    """Whether a result shares no memory with another tensor, so that it can be written into."""
    return x.is_floating_point() and not tag.storage.shared and tag.part is None and 0 not in x.stride()


def _copied(x: Tensor, tag: Tag) -> Tensor:
    values = x.detach()
    return values.clone() if tag.mask is None else values.masked_fill(tag.mask.dead, 0)
