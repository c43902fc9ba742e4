"""What the site makes of pages and docstrings; mkdocs.yml names it."""

from __future__ import annotations

import re
from typing import Any

import griffe

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!\.\.)[^)]*\)")
_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page without links to files of the repository that are not a part of the site: their text stays."""
    return _OUTSIDE.sub(r"\1", markdown)


class Roles(griffe.Extension):
    """References to functions and classes in docstrings, as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that is documented."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda found: f"`{found[1]}`", obj.docstring.value)
