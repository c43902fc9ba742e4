"""What a masked forward did: the mask after each operation, and where it has filled up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad._engine.mask_rule import MaskRule


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The mask behind one operation.

    Parameters
    ----------
    module : str
        Path of the innermost module that ran the operation; empty for the model's own ``forward``,
        and for an input.
    module_type : str
        The module's type; empty for an input.
    operation : str
        Torch's name of it, e.g. ``"conv2d"``; ``"input"`` (or ``"input 1"`` …) of an input.
    number : int
        Of the operations on features, counted from 1 in the order of execution; 0 for an input.
    shape : tuple of int
        Of the operation's result.
    mask : Tensor
        True = active; bool, on the CPU, broadcasts to the result, with as many dimensions.
    features : Tensor or None
        Where the result holds features at all, like `mask`; None: everywhere. Padding and constants
        are not features: not active, and not missing either.
    active : Tensor
        Share of the features that are active, for each sample, float64 of shape (N,). A result whose
        first dimension is not the batch counts as one: the same share for every sample.
    before : Tensor
        Like `active`, of the operand of which the smallest share is; 1 for an input.
    renewed : bool
        Whether the mask is another one than those of the operands, or filled up here.
    """

    module: str
    module_type: str
    operation: str
    number: int
    shape: tuple[int, ...]
    mask: Tensor
    features: Tensor | None
    active: Tensor
    before: Tensor
    renewed: bool

    @property
    def share(self) -> float:
        """Share of the features that are active, mean over samples."""
        return float(self.active.mean()) if len(self.active) else 1.0

    @property
    def full(self) -> bool:
        """Whether nothing is deactivated, in any sample."""
        return bool((self.active == 1).all())

    @property
    def place(self) -> str:
        """The module's path in words: an input, and the model's own ``forward``, have none."""
        return self.module or (f"{self.module_type}.forward" if self.module_type else self.operation)


class Trace(Sequence[Checkpoint]):
    """The masks of one forward, from :meth:`captum_ad.ADForward.trace`: a sequence of checkpoints.

    It begins with the inputs that hold features and goes on with every operation that renewed the
    mask, in the order in which they ran, until nothing is deactivated any more: the last checkpoint
    is then the one that is full, and ``str(trace)`` ends with "full from here on". `operations` has
    the others, too. Nothing here refers to the model or to an activation, except `output`.

    A vector that a linear layer makes of all positions has no position to deactivate; the mask ends
    there, and everything counts as active, also for a sample of which nothing was left.

    Attributes
    ----------
    operations : tuple of Checkpoint
        The inputs, and the result of every operation on features, renewed or not. With nothing masked
        the model runs by itself, and there are only its inputs.
    output : Tensor
        What the forward returned.
    rule : MaskRule
        The rule that it ran under.
    tau : float
        The threshold τ.
    """

    def __init__(self, operations: Sequence[Checkpoint], output: Tensor, rule: MaskRule, tau: float) -> None:
        self.operations = tuple(operations)
        self.output = output
        self.rule = rule
        self.tau = tau
        self._checkpoints = tuple(c for c in self.operations if c.renewed)

    def __len__(self) -> int:
        return len(self._checkpoints)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Checkpoint, ...]: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | tuple[Checkpoint, ...]:
        return self._checkpoints[index]

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._checkpoints)

    @property
    def full_at(self) -> Checkpoint | None:
        """Where the mask filled up: the last operation on anything deactivated, in any sample; None if it never did."""
        return self._filled(slice(None))

    @property
    def sample_full_at(self) -> tuple[Checkpoint | None, ...]:
        """Like `full_at`, of each sample by itself."""
        return tuple(self._filled(i) for i in range(len(self[0].active) if len(self) else 0))

    def at(self, module: str) -> Checkpoint:
        """What a module handed on: the mask behind the last operation that ran within it.

        Of an operation with several results, such as ``chunk``, it is the last of them.

        Parameters
        ----------
        module : str
            Its path, as ``model.named_modules()`` spells it; or ``"input"`` (``"input 1"`` …) for an input, if no
            module is called that.

        Raises
        ------
        UnknownNameError
            If no operation on features ran within such a module, or was seen, as nothing is masked.
        """
        within = [c for c in self.operations if c.number and f"{c.module}.".startswith(f"{module}.")]
        found = within or [c for c in self.operations if not c.number and c.operation == module]
        if not found:
            known = {c.module or c.operation for c in self.operations if c.module or not c.number}
            raise UnknownNameError("module with features in this trace", module, known)
        return found[-1]

    def summary(self) -> str:
        """One line: the rule, how much of the input is active, and where the mask has filled up."""
        inputs, full = [c for c in self if not c.number], self.full_at
        if all(c.full for c in inputs):
            return f"{rule_name(self.rule, self.tau)}: nothing is masked, everything is active"
        names = ["the input" if c.operation == "input" else c.operation for c in inputs]
        words = [f"{percent(c.share)} of {name} active" for name, c in zip(names, inputs)]
        last = self.operations[-1]
        if full is None:
            words.append(f"not full by the end: {percent(last.share)} after {last.place} ({last.operation})")
        else:
            where = f"{full.place} ({full.operation}, operation {full.number} of {last.number})"
            single = math.prod(full.shape[2:]) == 1
            words.append(f"not full until {where} leaves one position" if single else f"full after {where}")
        return f"{rule_name(self.rule, self.tau)}: {', '.join(words)}"

    def __str__(self) -> str:
        rows = [("", "module", "type", "operation", "shape", "active", "by sample")]
        for number, c in enumerate(self):
            module = (c.module or "(model)", c.module_type, c.operation) if c.number else (c.operation, "", "")
            rows.append((str(number), *module, sizes(c.shape), percent(c.share), _spread(c.active)))
        columns = [column for column in zip(*rows) if any(column[1:])]
        widths = [max(map(len, column)) for column in columns]
        right = "active", "by sample", ""
        table = [
            "  ".join(
                cell.rjust(width) if column[0] in right else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns)
            ).rstrip()
            for row in zip(*columns)
        ]
        return "\n".join([self.summary(), *table, *(["full from here on"] if self.full_at else [])])

    def __repr__(self) -> str:
        return f"<Trace of {len(self)} checkpoints, {self.summary()}>"

    def _filled(self, samples: int | slice) -> Checkpoint | None:
        for checkpoint in reversed(self.operations):
            if not bool((checkpoint.active[samples] == 1).all()):
                return None
            if not bool((checkpoint.before[samples] == 1).all()):
                return checkpoint
        return self.operations[0] if self.operations else None


def rule_name(rule: MaskRule, tau: float) -> str:
    """A rule by its preset's name, if it has one, with τ if it is not 0."""
    return f"{rule.name}, τ = {tau:g}" if tau else rule.name


def percent(share: float) -> str:
    """A share in per cent; only what is exactly none or all says 0 or 100."""
    shown = 100 * share if share in (0, 1) else min(max(100 * share, 0.1), 99.9)
    return f"{shown:.1f}".removesuffix(".0") + " %"


def sizes(shape: Sequence[int]) -> str:
    """A shape in words."""
    return "×".join(map(str, shape))


def _spread(active: Tensor) -> str:
    """The least and the most of several samples."""
    if len(active) < 2:
        return ""
    low, high = percent(float(active.min())), percent(float(active.max()))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
