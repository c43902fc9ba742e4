"""The report of :func:`captum_ad.testing.check_model`."""

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
        Name of the property.
    passed : bool or None
        None if not checked, because an earlier check failed or the model does not accept the needed batch.
    detail : str
        What was found; for a failed check, also what to do.
    module : str or None
        Path of the module at fault, as in ``model.named_modules()``; empty for the model's own ``forward``, None if
        unknown.
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
        """The module and the operation at fault, as text; empty if unknown."""
        if self.module is None:
            return ""
        operation = f", operation {self.operation}" if self.operation else ""
        where = f"module {self.module!r}" if self.module else "the model itself"
        return f"{where} ({self.module_type}){operation}"


@dataclass(frozen=True, repr=False)
class Report:
    """The result of :func:`check_model`. It is truthy if all checks passed, and prints as a table.

    Parameters
    ----------
    model : str
        The model's type.
    setting : str
        The rule, τ and masks.
    checks : tuple of Check
        The checks, in order of execution.
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
            # whether the error message names the place already; also true if there is none
            told = check.place.partition(",")[0] in check.detail
            words = check.detail if told else f"{check.place}: {check.detail}"
            text = words or "not checked"
            wrapped = textwrap.wrap(
                text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
            )
            lines += wrapped or [head.rstrip()]
        return "\n".join(lines)

    __repr__ = __str__  # shown by a failed assertion
