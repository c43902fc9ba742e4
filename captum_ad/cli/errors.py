"""The error that ends a command with one line and exit code 2."""


class InputError(Exception):
    """What the user gave cannot be worked with; the message says what and what to do next."""
