"""Collects what was found out about each network, prints it at the end of the run, and writes the table of networks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architectures.table import Row, write_table

_found: dict[tuple[str, str], Row] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--table",
        type=Path,
        metavar="PATH",
        help="write what was found into this Markdown table; rows of networks that were not run stay as they are",
    )


@pytest.fixture
def found() -> Callable[[str, str], Row]:
    """Call with library and network for the row to fill in."""
    return lambda library, network: _found.setdefault((library, network), Row())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _found:
        return
    terminalreporter.section("networks: parameters, Theorem 1, missing means missing")
    width = max(len(network) for _, network in _found)
    for (library, network), row in sorted(_found.items()):
        terminalreporter.line(f"{library:11}  {network:{width}}  " + "  ".join(row.cells()))
    # Without a path in the command pytest finds this file too late to know its option
    path = terminalreporter.config.getoption("--table", default=None)
    if path is not None:
        write_table(path, _found)
        terminalreporter.line(f"table written to {path}")
