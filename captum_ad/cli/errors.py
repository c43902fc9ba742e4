"""What ends a command with one line."""


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C after something was written; the message says what is there and how to go on. Exit code 130."""
