"""The table of networks keeps what a partial run did not look at."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from tests.architectures import table
from tests.architectures.table import Row, read_table, write_table

GOOD = Row(2_345_678, "bit for bit", "to rounding")


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    known = {"torch": "2.8", "timm": "1.0", "torchvision": "0.23"}
    monkeypatch.setattr(table, "version", known.__getitem__)
    return known


def test_rows_come_in_order_whatever_ran_first(tmp_path: Path) -> None:
    rows = {("timm", "b"): Row(), ("torchvision", "c"): GOOD, ("others", "d"): GOOD, ("timm", "a"): GOOD}
    one, other = tmp_path / "one.md", tmp_path / "other" / "table.md"
    write_table(one, rows)
    for key in reversed(rows):
        write_table(other, {key: rows[key]})
    assert one.read_text() == other.read_text()
    titles = ["others, torch 2.8", "timm 1.0, torch 2.8", "torchvision 0.23, torch 2.8"]
    assert list(read_table(one.read_text())) == titles
    assert "| a | 2.3 M | bit for bit | to rounding |\n| b | ? | fails | fails |\n" in one.read_text()
    assert {path.name for path in tmp_path.rglob("*")} == {"one.md", "other", "table.md"}


def test_a_partial_run_replaces_its_own_rows_alone(tmp_path: Path, versions: dict[str, str]) -> None:
    path = tmp_path / "table.md"
    write_table(path, {("timm", "a"): GOOD, ("timm", "b"): GOOD, ("torchvision", "a"): GOOD})
    versions["timm"] = "1.1"
    write_table(path, {("timm", "b"): Row(1_000_000, refused="mixes x | y")})
    sections = read_table(path.read_text())
    assert {title: list(rows) for title, rows in sections.items()} == {
        "timm 1.0, torch 2.8": ["a"],
        "timm 1.1, torch 2.8": ["b"],
        "torchvision 0.23, torch 2.8": ["a"],
    }
    assert sections["timm 1.1, torch 2.8"]["b"] == r"| b | 1.0 M | refused: mixes x \| y | – |"
    write_table(path, {("timm", "a"): GOOD})
    assert list(read_table(path.read_text())) == ["timm 1.1, torch 2.8", "torchvision 0.23, torch 2.8"]


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.md"
    write_table(path, {("timm", "a"): GOOD})
    before = path.read_text()
    monkeypatch.setattr(table, "_text", lambda sections: importlib.metadata.version("no such package"))
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        write_table(path, {("timm", "b"): GOOD})
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("page", ["README.md", "tutorials/README.md"])
def test_pages_count_the_rows(page: str) -> None:
    root = Path(__file__).resolve().parents[2]
    sections = read_table((root / "tutorials" / "networks.md").read_text(encoding="utf-8"))
    (said,) = re.findall(
        r"networks\.md\)[^|\n]* the (?:test results for )?(\d+)", (root / page).read_text(encoding="utf-8")
    )
    assert int(said) == sum(map(len, sections.values()))
