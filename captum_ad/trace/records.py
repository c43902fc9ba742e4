"""The trace of a masked forward: the mask after each operation, and where everything is active again."""

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
    """The mask after one operation.

    Parameters
    ----------
    module : str
        Path of the innermost module that ran the operation; empty for the model's own ``forward``,
        and for an input.
    module_type : str
        The module's type; empty for an input.
    operation : str
        Name of the operation in torch, e.g. ``"conv2d"``; ``"input"`` (or ``"input 1"`` …) for an input.
    number : int
        Number of the operation among those on features, from 1 in the order of execution; 0 for an input.
    shape : tuple of int
        Shape of the operation's result.
    mask : Tensor
        bool, True = active, on the CPU. It has as many dimensions as the result and broadcasts to it.
    features : Tensor or None
        Where the result has features, in the format of `mask`; None means everywhere. Padding and constants
        are not features: they are neither active nor missing.
    active : Tensor
        Fraction of the features that are active in each sample, float64, shape (N,). If the result's first
        dimension is not the batch, the overall fraction for every sample.
    before : Tensor
        Like `active`, for the operand with the smallest active fraction; 1 for an input.
    renewed : bool
        Whether the mask differs from those of the operands, or everything is active again here.
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
        """Fraction of the features that are active, averaged over samples."""
        return float(self.active.mean()) if len(self.active) else 1.0

    @property
    def full(self) -> bool:
        """Whether nothing is deactivated, in any sample."""
        return bool((self.active == 1).all())

    @property
    def place(self) -> str:
        """The module's path, or words for an input or the model's own ``forward``, which have none."""
        return self.module or (f"{self.module_type}.forward" if self.module_type else self.operation)


class Trace(Sequence[Checkpoint]):
    """The masks of one forward, from :meth:`captum_ad.ADForward.trace`: a sequence of checkpoints.

    It starts with the inputs that have features, followed by every operation that changed the mask, in the order of
    execution, until nothing is deactivated any more. The mask of the last checkpoint is then full, and ``str(trace)``
    ends with "full from here on". `operations` also has the operations that did not change the mask. Except for
    `output`, a trace holds no reference to the model or to activations.

    If a linear layer turns all positions into one vector, there are no positions left to deactivate. The mask ends
    there, and everything counts as active, even for a sample in which everything was masked.

    Attributes
    ----------
    operations : tuple of Checkpoint
        The inputs, and the result of every operation on features, whether or not it changed the mask. With nothing
        masked, the plain model runs, and there are only the inputs.
    output : Tensor
        The output of the forward.
    rule : MaskRule
        The rule of the forward.
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
        """The operation after which everything is active again, in all samples; None if there is none."""
        return self._filled(slice(None))

    @property
    def sample_full_at(self) -> tuple[Checkpoint | None, ...]:
        """Like `full_at`, for each sample."""
        return tuple(self._filled(i) for i in range(len(self[0].active) if len(self) else 0))

    def at(self, module: str) -> Checkpoint:
        """The mask after a module: that of the last operation within it.

        For an operation with several results, such as ``chunk``, it is the mask of the last one.

        Parameters
        ----------
        module : str
            Its path, as in ``model.named_modules()``; or ``"input"`` (``"input 1"`` …) for an input, if no
            module has that name.

        Raises
        ------
        UnknownNameError
            If no operation on features within that module was recorded, e.g. because nothing is masked.
        """
        within = [c for c in self.operations if c.number and f"{c.module}.".startswith(f"{module}.")]
        found = within or [c for c in self.operations if not c.number and c.operation == module]
        if not found:
            known = {c.module or c.operation for c in self.operations if c.module or not c.number}
            raise UnknownNameError("module with features in this trace", module, known)
        return found[-1]

    def summary(self) -> str:
        """One line: the rule, how much of the input is active, and where everything is active again."""
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
    """The name of a rule, its preset's if it has one, with τ if it is not 0."""
    return f"{rule.name}, τ = {tau:g}" if tau else rule.name


def percent(share: float) -> str:
    """A fraction in percent. Only exact values are written as 0 or 100."""
    shown = 100 * share if share in (0, 1) else min(max(100 * share, 0.1), 99.9)
    return f"{shown:.1f}".removesuffix(".0") + " %"


def sizes(shape: Sequence[int]) -> str:
    """A shape as text, e.g. "1×3×8×8"."""
    return "×".join(map(str, shape))


def _spread(active: Tensor) -> str:
    """The smallest and largest active fraction over samples, as text."""
    if len(active) < 2:
        return ""
    low, high = percent(float(active.min())), percent(float(active.max()))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
