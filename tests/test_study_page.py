"""The tables of tutorials/study.md are those of tutorials/results."""

import csv
import re
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
SETS = ("photographs", "boxed")
FOLDERS = {
    "MobileNetV2, Occlusion": "mobilenet_v2-occlusion",
    "ResNet-50, Occlusion": "resnet50",
    "MobileNetV2, Lime": "mobilenet_v2-lime",
}
COLUMNS = {  # of the page: the table, its column, and what its rows have to be
    "size at γ = .9": ("mean-size-by-gamma", "γ 0.9", {}),
    "ρ on K1, γ = .9": ("rho-by-gamma", "γ 0.9", {"backgrounds": "K1"}),
    "ρ on K2, γ = .9": ("rho-by-gamma", "γ 0.9", {"backgrounds": "K2"}),
    "ρ on K1, size .3": ("rho-at-equal-size", "size 0.3", {"backgrounds": "K1"}),
    "missingness": ("judges", "missingness", {"method": ""}),
    "insertion": ("judges", "insertion", {}),
}
FOUND = re.findall(r"^(\w[^\n]*, (?:Occlusion|Lime))\b.*?\n\n(\|.*?)\n\n", (TUTORIALS / "study.md").read_text(encoding="utf-8"), re.S | re.M)  # fmt: skip  # noqa: E501


def rows(folder: str, table: str) -> list[dict[str, str]]:
    with open(TUTORIALS / "results" / folder / "tables" / f"{table}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_is_found() -> None:
    assert [title for title, _ in FOUND] == list(FOLDERS)


@pytest.mark.parametrize(("title", "table"), FOUND, ids=[title for title, _ in FOUND])
def test_table(title: str, table: str) -> None:
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert head == ["masking", *COLUMNS]
    method = title.split(", ")[1].lower()
    maskings = [
        row["masking"] for row in rows(f"{FOLDERS[title]}-boxed", "mean-size-by-gamma") if row["method"] == method
    ]
    assert [cells[0].strip("`") for cells in body] == maskings
    for masking, cells in zip(maskings, body, strict=True):
        for (name, column, known), shown in zip(COLUMNS.values(), cells[1:], strict=True):
            wanted = {"method": method, "masking": masking, **known}
            for folder, value in zip(SETS, shown.split(" / "), strict=True):
                (row,) = (row for row in rows(f"{FOLDERS[title]}-{folder}", name) if wanted.items() <= row.items())
                assert value == f"{float(row[column]):.2f}".removeprefix("0"), (masking, column, folder)
