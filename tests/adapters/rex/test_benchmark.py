"""The benchmark of ReX against our CausalResponsibility, on a tiny network and drawn pictures."""

import csv

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rex_xai")
pytest.importorskip("scipy", minversion="1.15")

from scipy.stats import ttest_1samp

from tests.adapters.rex.models import PATCH, SIDE
from tests.benchmarks import rex
from tests.benchmarks.responsibility import difference, main, summary

NETWORK = f"""
import torch
from torch import nn
from tests.adapters.rex.models import to_tensor

def network():
    linear = nn.Linear(3 * {SIDE} * {SIDE}, 2)
    weights = torch.zeros(2, 3, {SIDE}, {SIDE})
    weights[1, :, {PATCH[0].start}:{PATCH[0].stop}, {PATCH[1].start}:{PATCH[1].stop}] = 4 / 2 / 48
    linear.weight.data.copy_(weights.flatten(1))
    linear.bias.data.copy_(torch.tensor([1.9, 0.0]))
    return nn.Sequential(nn.Flatten(), linear).eval(), to_tensor
"""
OPTIONS = "--gammas 0.1 0.9 --backgrounds 0 --maskings zero ad:no-growth-mean --explainers".split()
EXPLAINERS = ["rex:iters=2", "causal:max_forwards=60,min_region=2", "causal:max_forwards=60,min_region=2,seed=1"]


@pytest.fixture
def dataset(tmp_path):
    """Three gray pictures with the bright patch that the network looks for, not of one brightness: maps differ."""
    lines = ["file,class"]
    for number, bright in enumerate((255, 240, 225)):
        pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
        pixels[PATCH] = bright
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,1")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "mine.py").write_text(NETWORK)
    return tmp_path


def run(dataset, *more):
    model = ["--model", f"{dataset / 'mine.py'}:network", "--out", str(dataset / "out")]
    main([str(dataset / "labels.csv"), *model, *OPTIONS, *EXPLAINERS, *more])
    with (dataset / "out" / "rows.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), (dataset / "out" / "summary.md").read_text(encoding="utf-8")


def test_rows_and_summary(dataset, capsys):
    rows, summary = run(dataset, "--images", "2")
    assert summary.strip() == capsys.readouterr().out.strip()
    assert len(rows) == 2 * 2 * 3
    number = {key: [float(row[key]) for row in rows] for key in rows[0] if "γ" in key or key.startswith("rank")}
    assert all(small <= large for small, large in zip(number["size, γ 0.1"], number["size, γ 0.9"]))
    assert all(size >= 8 / SIDE**2 for size in number["size, γ 0.1"])  # half of the patch, below which it is class 0
    assert all(-1 <= rank <= 1 for rank in number["rank 0"])
    for row in rows:  # each agrees with itself, and two of them with one another
        i = EXPLAINERS.index(row["explainer"])
        assert float(row[f"rank {i}"]) == pytest.approx(1)
        assert float(row[f"IoU {i}, γ 0.9"]) == 1
    first, second, _ = rows[:3]
    assert first["IoU 1, γ 0.1"] == second["IoU 0, γ 0.1"]
    assert float(first["rank 1"]) == pytest.approx(float(second["rank 0"]))
    assert "Means over 2 photographs" in summary
    assert f"ad:no-growth-mean: {EXPLAINERS[1]} − rex:iters=2" in summary
    assert "rex:iters=2: ad:no-growth-mean − zero" in summary
    assert not (set("ad:no-growth-mean zero".split()) & {row["explainer"] for row in rows})


def test_more_photographs_go_on(dataset):
    few, _ = run(dataset, "--images", "2")
    many, summary = run(dataset)
    times = [[float(row["seconds"]) for row in rows] for rows in (few, many)]
    assert times[1][: len(few)] == times[0]  # nothing was measured again
    assert len(many) == 3 * 2 * 3
    assert "Means over 3 photographs" in summary
    # the rows' order, which depends on interruptions, does not pair photographs wrongly
    rows = dataset / "out" / "rows.csv"
    head, *lines = rows.read_text(encoding="utf-8").splitlines()
    rows.write_text("\n".join([head, *(x for x in lines if ",zero," in x), *(x for x in lines[::-1] if ",ad:" in x)]))
    assert run(dataset)[1] == summary


def test_other_settings_are_refused(dataset):
    run(dataset, "--images", "1")
    with pytest.raises(SystemExit, match="results of another seed"):
        run(dataset, "--images", "1", "--seed", "3")


def test_rex_alone_and_robustness(dataset, capsys):
    options = ["--model", f"{dataset / 'mine.py'}:network", *OPTIONS[:3], "--backgrounds", "2", "--iters", "2"]
    rex.main([str(dataset / "0.png"), *options, "--maskings", "zero", "--out", str(dataset / "out")])
    with (dataset / "out" / "rows.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row["ρ K1, γ 0.1"]) <= 1
    assert 0 <= float(row["ρ K1, size 0.3"]) <= 1
    assert f"| zero | {float(row['size, γ 0.1']):.3f} |" in capsys.readouterr().out


def test_differences_are_paired_by_photograph():
    sizes = {
        "a.png": {"zero": (0.5, 0.4), "ad:paper": (0.3, 0.25)},
        "b.png": {"zero": (0.7, 0.9), "ad:paper": (0.2, 0.3)},
    }
    explainers, maskings = ("rex", "causal"), ("zero", "ad:paper")
    rows = [
        {
            "photograph": photograph,
            "masking": masking,
            "explainer": explainer,
            "size": size,
            "rank 0": 1.0,
            "rank 1": 0.5,
        }
        for photograph, of in sizes.items()
        for masking in maskings
        for explainer, size in zip(explainers, of[masking])
    ]
    found = summary(rows, explainers, maskings)
    assert found == summary(rows[::-1], explainers, maskings)
    for label, values in {
        "zero: causal − rex": [-0.1, 0.2],
        "rex: ad:paper − zero": [-0.2, -0.5],
        "causal: ad:paper − zero": [-0.15, -0.6],
        "ad:paper − zero: causal − rex": [0.05, -0.1],
    }.items():
        assert f"| {label} | {difference('size', values)} |" in found


def test_a_difference_has_its_interval():
    values = [0.1, 0.2, 0.4]
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert difference("size", values) == f"+0.233 [{low:+.3f}, {high:+.3f}]"
    assert difference("forwards", [3.0]) == "+3"
