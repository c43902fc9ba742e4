"""What ends a command with one line."""


class InputError(Exception):
    """What the user gave cannot be worked with; the message says what and what to do next. Exit code 2."""


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C after something was written; the message says what is there and how to go on. Exit code 130."""
