"""What README.md shows is what happens."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

README = Path(__file__).resolve().parent.parent / "README.md"


def test_python_blocks_run_as_they_stand() -> None:
    fragment, *blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert fragment.strip() in blocks[0]  # the line that opens the page is the last of the ten
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
    assert torch.equal(names["trace"].output, names["logits"])
    assert f"print(trace.summary())\n# {names['trace'].summary()}\n" in README.read_text(encoding="utf-8")
