"""Runs the code of a page, for the scripts that draw the page's figure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent


def names_of(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page of this folder, and return the names that they define."""
    names: dict[str, Any] = {}
    text = (HERE / page).read_text(encoding="utf-8")
    with torch.no_grad():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            exec(compile(block, page, "exec"), names)
    return names
