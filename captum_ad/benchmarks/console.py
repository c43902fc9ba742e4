"""Shared by the benchmarks' commands: bad input gives one line, and an interruption says what was written."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from captum_ad._common.errors import InputError, UnsupportedOperationError

FAILED, INTERRUPTED = 2, 130


def exit_code(program: str, run: Callable[[], None], left: Callable[[], str]) -> int:
    """Run a command.

    Parameters
    ----------
    program : str
        Its name for messages.
    run : callable
        Parses the arguments, runs the command and prints.
    left : callable
        Returns a text that says what is left after an interruption.

    Returns
    -------
    int
        0; 2 after bad input, with one line on stderr; 130 after Ctrl-C.
    """
    try:
        run()
    except SystemExit as stop:  # argparse: --help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{program}: interrupted, {left()}", file=sys.stderr)
        return INTERRUPTED
    except torch.OutOfMemoryError as error:
        return _failed(program, f"out of memory, try a smaller --batch-size: {error}")
    except (InputError, UnsupportedOperationError, ValueError, TypeError, ImportError, OSError) as error:
        return _failed(program, str(error))
    return 0


def _failed(program: str, message: str) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return FAILED
