"""Record the masks of a masked forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine import Interpreter, PositionMask
from captum_ad._engine.origins import running_module
from captum_ad._engine.tags import tag_of, tensors_in
from captum_ad.trace.records import Checkpoint

_Masks = list[tuple[torch.Size, PositionMask | None]]  # masks of tensors, with their shapes


class Record:
    """What a :class:`Tracer` has recorded so far, starting with the inputs that have features."""

    def __init__(self, inputs: Sequence[Any], masks: Sequence[PositionMask | None]) -> None:
        tensors = [(i, x, m) for i, (x, m) in enumerate(zip(inputs, masks)) if isinstance(x, Tensor)]
        features = [entry for entry in tensors if entry[2] is not None] or tensors
        self.samples = next((x.shape[0] for _, x, _ in features if x.dim()), 1)
        self.operations: list[Checkpoint] = []
        self._copies: dict[int, tuple[PositionMask, PositionMask]] = {}
        for i, x, mask in features:
            operation = "input" if len(features) == 1 and i == 0 else f"input {i}"
            self.add(("", ""), operation, 0, x.shape, mask, before=torch.ones(self.samples).double(), renewed=True)

        self._inputs = len(self.operations)

    def begin(self) -> None:
        """Discard everything but the inputs, since a new forward starts."""
        del self.operations[self._inputs :]

    def add(
        self,
        module: tuple[str, str],
        operation: str,
        number: int,
        shape: Sequence[int],
        mask: PositionMask | None,
        before: Tensor,
        renewed: bool,
    ) -> None:
        """Record the mask of a result."""
        active = self.shares(shape, mask)
        filled = bool((before < 1).any()) and bool((active == 1).all())
        copy = self._copied(mask) if mask else PositionMask(torch.ones((1,) * len(shape), dtype=torch.bool))
        parts = copy.kept, copy.feature
        self.operations.append(
            Checkpoint(*module, operation, number, tuple(shape), *parts, active, before, renewed or filled)
        )

    def shares(self, shape: Sequence[int], mask: PositionMask | None) -> Tensor:
        """The active fraction of a tensor of that shape, per sample if its first dimension is the batch."""
        if mask is None:
            return torch.ones(self.samples).double()
        copy = self._copied(mask)
        rows = len(copy.kept) if len(shape) and shape[0] == self.samples else 1
        dead, there = (part.reshape(rows, -1).sum(1).double() for part in (copy.dead, copy.everywhere))
        return ((there - dead) / there).where(there > 0, 1).expand(self.samples).clone()

    def _copied(self, mask: PositionMask) -> PositionMask:
        """A copy on the CPU. The same mask gets the same copy."""
        if id(mask) not in self._copies:
            copy = mask.map(lambda part: part.detach().to("cpu", copy=True))
            self._copies[id(mask)] = mask, copy  # keep the mask, so that its id is not reused
        return self._copies[id(mask)][1]


class Tracer(Interpreter):
    """An interpreter that records the mask of every result."""

    def __init__(self, record: Record, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        record.begin()
        self._record = record
        self._inside = False
        self._count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation, and record the masks of its results."""
        if self._inside:  # operations within a rule belong to the rule's operation
            return super().__torch_function__(func, types, args, kwargs)
        operands = tensors_in(args, kwargs or {})
        before = [(x.shape, tag.mask) for x in operands if (tag := tag_of(x)) is not None and tag.data]
        self._inside = True
        try:
            out = super().__torch_function__(func, types, args, kwargs)
        finally:
            self._inside = False
        tags = [(x, tag_of(x)) for x in tensors_in(operands[:1] if out is None else out)]
        results = [(x.shape, tag.mask) for x, tag in tags if tag is not None and tag.data]
        if before and results:
            self._count += 1
            self._write(short_name(func), before, results)
        return out

    def _write(self, operation: str, operands: _Masks, results: _Masks) -> None:
        module = running_module(self.model)
        before = torch.stack([self._record.shares(*operand) for operand in operands]).amin(0)
        for shape, mask in results:
            other = mask is not None and not any(mask is earlier for _, earlier in operands)
            renewed = other and bool((torch.minimum(before, self._record.shares(shape, mask)) < 1).any())
            self._record.add(module, operation, self._count, shape, mask, before, renewed)


def short_name(operation: Any) -> str:
    """An operation's name as written in code, e.g. "iadd" for Tensor.__iadd__."""
    owner = getattr(operation, "__self__", None)
    name: str = getattr(operation, "__name__", "") or type(operation).__name__
    return getattr(owner, "__name__", name) if name == "__get__" else name.strip("_") if name[:2] == "__" else name
