"""What README.md shows is what happens."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

README = Path(__file__).resolve().parent.parent / "README.md"


def test_python_blocks_run_as_they_stand() -> None:
    fragment, *blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert fragment.split("(x, ")[0] in blocks[0]  # the line that opens the page is the last of the ten
    names: dict[str, Any] = {}
    with torch.no_grad():
        for block in blocks:
            exec(compile(block, str(README), "exec"), names)
    attr, x, mask = names["attr"], names["x"], names["mask"]
    assert isinstance(attr, Tensor)
    assert attr.shape == x.shape
    assert attr.isfinite().all()
    assert attr.std() > 0
    assert torch.equal(names["ad"](x), names["model"](x))
    assert torch.equal(names["logits"], names["ad"](x.where(mask, 7), mask=mask))
    assert 0 < names["found"].size < 1


def test_it_can_be_read_in_one_go() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    linked = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert [path for path in linked if not (README.parent / path).exists()] == []
