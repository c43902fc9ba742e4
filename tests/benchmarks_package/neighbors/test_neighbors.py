"""The studies of neighboring work: the command, its table, and what is refused; on colors and a small network."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad.benchmarks.neighbors import Case, main, markdown, measure
from captum_ad.benchmarks.neighbors.command import STUDIES
from captum_ad.benchmarks.neighbors.measuring import evenly

MODULE = """
import torch
from torch import nn
from torchvision import transforms

def colors():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)), transforms.Compose(
        [transforms.Resize((32, 32)), transforms.ToTensor()]
    )

def patches():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=4
    )
    nn.init.normal_(model.heads.head.weight)
    return model, colors()[1]
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "small_model.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        coarse.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "small_model", raising=False)
    threads = torch.get_num_threads()

    def run(*words, images=("one.png", "two.png", "three.png"), model="small_model:colors"):
        code = main([str(word) for word in (words[0], *images, *words[1:], "--model", model)])
        return (code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_every_study_makes_a_table(command, study):
    model = "small_model:patches" if study == "attention" else "small_model:colors"
    code, out, err = command(study, "--maskings", "ad:no-growth", "avg", model=model)
    assert code == 0, err
    head, table = out.strip().split("\n\n")
    assert re.match(
        r"small_model:(colors|patches)|.*, [123] photographs \(classes: the network's own answers\), seed 0\.", head
    )
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert len(rows) > 2
    assert re.search(r"\d", table.splitlines()[2])


def test_a_file_of_records_is_gone_on_from(command, tmp_path):
    words = ("pathways", "--maskings", "ad:no-growth", "avg", "--csv", tmp_path / "found.csv")
    first = command(*words, "--first", 2)
    rows = pd.read_csv(tmp_path / "found.csv")
    assert set(rows["photograph"]) == {"one", "two"}
    second = command(*words)
    assert pd.read_csv(tmp_path / "found.csv").head(len(rows)).equals(rows)
    assert first[1] != second[1]
    refused = command(*words, "--seed", 1)
    assert refused[0] == 2
    assert "other settings" in refused[2]


def test_labels_choose_those_that_the_network_gets_right(command, tmp_path):
    (tmp_path / "labels.csv").write_text("file,index\none.png,9\ntwo.png,9\n")
    code, _, err = command("pathways", "--labels", "labels.csv", images=())
    assert code == 2
    assert "gets none of the photographs right" in err


@pytest.mark.slow
def test_attention_has_drawn_scenes_of_its_own(command):
    code, out, err = command("attention", "--maskings", "ad:paper", "avg", "--first", 2, images=(), model="demo")
    assert code == 0, err
    assert out.startswith(
        "Vision transformer of captum_ad.benchmarks.scenes, 2 drawn scenes that it gets right, seed 0."
    )


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("attention",), "no attention found in Sequential"),
        (("pathway",), "invalid choice: 'pathway'"),
        (("pathways", "--maskings", "avg"), "at least two maskings"),
        (("pathways", "--maskings", "avg", "gray"), "unknown masking 'gray'"),
        (("pathways", "--csv", "nowhere/found.csv"), "the directory 'nowhere' for the records does not exist"),
    ],
)
def test_bad_input(command, words, match):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert match in err


def rows(values: dict[str, list[float]], quantity: str = "q") -> pd.DataFrame:
    columns = ("photograph", "method", "masking", "quantity", "value")
    found = [(str(i), "m", name, quantity, v) for name, many in values.items() for i, v in enumerate(many)]
    return pd.DataFrame(found, columns=list(columns))


def test_table_by_hand():
    text = markdown(rows({"ad:paper": [1.0, 3.0], "avg": [1.0, 1.0], "blur": [0.0, 4.0]}), compared=("q",))
    _, _, ad, avg, blur = [line.strip("| ").split(" | ") for line in text.splitlines()]
    assert ad == ["m", "ad:paper", "2.00 (1.00 to 3.00)", ".00 (−1.00 to +1.00)"]
    assert avg[2] == "1.00 (1.00 to 1.00)"
    assert blur[3] == "best"
    lower = markdown(rows({"ad:paper": [1.0, 3.0], "avg": [1.0, 1.0]}), compared=("q",), lower_is_better=True)
    assert "+1.00 (.00 to +2.00)" in lower


def test_missing_values_are_counted_and_never_zero():
    text = markdown(rows({"ad:paper": [0.5, float("nan")], "avg": [float("nan")] * 2}))
    assert ".50 [1]" in text
    assert "| –" in text


def test_products_are_of_means():
    records = pd.concat([rows({"avg": [0.5, 0.7]}, "a"), rows({"avg": [float("nan"), 0.5]}, "b")])
    text = markdown(records, product=("a", "b", "a × b"))
    assert text.splitlines()[0].endswith("| a | b | a × b |")
    assert "| .30 (.30 to .35) |" in text
    nothing = pd.concat([rows({"avg": [0.5]}, "a"), rows({"avg": [float("nan")]}, "b")])
    assert markdown(nothing, product=("a", "b", "a × b")).endswith("| – | – |")


def test_a_case_explains_once():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    case = Case(model, torch.rand(1, 1, 16, 16), 1, {"avg": "avg"}, window=8)
    assert case.attribution("occlusion", "avg") is case.attribution("occlusion", "avg")


def test_evenly():
    model = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(9)), nn.ReLU())
    assert evenly(model, (nn.Conv2d,), 3) == ["0", "4", "8"]
    assert evenly(model, (nn.ReLU,), 3) == ["9"]


def test_records_say_what_was_measured():
    def run(case):
        yield "m", "avg", "q", float(case.x.mean())

    model, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), {"a": torch.ones(1, 1, 2, 2)}
    found = measure("s", run, model, images, {"a": 0}, {"avg": "avg"})
    assert found[["photograph", "target", "masking", "value"]].values.tolist() == [["a", 0, "avg", 1.0]]
