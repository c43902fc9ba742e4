"""Collects what was found out about each architecture, and prints it as a table at the end of the run."""

from collections.abc import Callable

import pytest

COLUMNS = ("Theorem 1", "missing means missing")
_found: dict[str, dict[str, bool]] = {}


@pytest.fixture
def found(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Call with architecture and column when a property has been shown to hold."""

    def note(architecture: str, column: str) -> None:
        _found.setdefault(architecture, {})[column] = True

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _found:
        return
    terminalreporter.section("architectures")
    width = max(map(len, _found))
    terminalreporter.line(f"{'':{width}}  " + "  ".join(COLUMNS))
    for name, holds in sorted(_found.items()):
        cells = (f"{'holds' if holds.get(column) else 'not shown':{len(column)}}" for column in COLUMNS)
        terminalreporter.line(f"{name:{width}}  " + "  ".join(cells))
