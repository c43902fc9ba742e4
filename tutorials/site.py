"""Changes to pages and docstrings when mkdocs builds the site; mkdocs.yml loads this file."""

from __future__ import annotations

import re
from typing import Any

import griffe

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!\.\.)[^)]*\)")
_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace links to files outside of the site with the text of the link."""
    return _OUTSIDE.sub(r"\1", markdown)


class Roles(griffe.Extension):
    """Shows Sphinx roles in docstrings, such as :func:`f`, as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of `obj`; griffe calls this for each documented object."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda found: f"`{found[1]}`", obj.docstring.value)
