"""Exceptions that end a command with one line."""


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C after something was written; the message says what was written and how to continue. Exit code 130."""
