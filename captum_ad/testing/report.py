"""What was found of a network."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from captum_ad._common.errors import UnknownNameError

_SIGNS = {True: "✓", False: "✗", None: "–"}
_WIDTH = 118


@dataclass(frozen=True)
class Check:
    """One property, and whether it holds.

    Parameters
    ----------
    name : str
        What is checked.
    passed : bool or None
        None: not checked, as it would mean nothing after what has failed before, or as the model takes no such batch.
    detail : str
        What was found; of a check that failed, what to do about it.
    module : str or None
        Path of the module at fault, as ``model.named_modules()`` spells it, where one could be found; empty for
        the model's own ``forward``.
    module_type : str
        The module's type.
    operation : str
        The operation at fault.
    """

    name: str
    passed: bool | None
    detail: str = ""
    module: str | None = None
    module_type: str = ""
    operation: str = ""

    @property
    def place(self) -> str:
        """The module and the operation at fault, in words; empty if none was found."""
        if self.module is None:
            return ""
        operation = f", operation {self.operation}" if self.operation else ""
        where = f"module {self.module!r}" if self.module else "the model itself"
        return f"{where} ({self.module_type}){operation}"


@dataclass(frozen=True, repr=False)
class Report:
    """What :func:`check_model` found. True in a condition iff all checks have passed, and printed as a table.

    Parameters
    ----------
    model : str
        The model's type.
    setting : str
        The rule, τ and masks.
    checks : tuple of Check
        In the order in which they were made.
    """

    model: str
    setting: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check has failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, name: str) -> Check:
        """The check of that name."""
        named = {check.name: check for check in self.checks}
        if name not in named:
            raise UnknownNameError("check", name, named)
        return named[name]

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        all_made = all(check.passed is not None for check in self.checks)
        verdict = "NOT all checks passed" if not self else "all checks passed" if all_made else "no check failed"
        lines = [f"{self.model}, {self.setting}: {verdict}"]
        for check in self.checks:
            head = f"  {_SIGNS[check.passed]} {check.name.ljust(width)}  "
            told = check.place.partition(",")[0] in check.detail  # as in a refusal; true if there is no place
            words = check.detail if told else f"{check.place}: {check.detail}"
            text = words or "not checked"
            wrapped = textwrap.wrap(
                text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
            )
            lines += wrapped or [head.rstrip()]
        return "\n".join(lines)

    __repr__ = __str__  # what an assertion that failed shows
