"""The command: its tables, files and errors."""

from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image

from captum_ad.benchmarks.scenes.command import main

QUICK = ["--networks", "mobile", "residual", "--scenes", "2", "--maskings", "ad:sum=intersection,average=active", "avg"]


def test_tables_and_files(tmp_path, capsys):
    csv, picture = tmp_path / "numbers.csv", tmp_path / "scenes.png"
    assert main([*QUICK, "--shape", "box", "--csv", str(csv), "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.count("| masking | mobile | residual |") == 4
    assert out.count("| ad:sum=intersection,average=active |") == 4
    found = pd.read_csv(csv)
    assert len(found) == 2 * 2 * 4
    value = found.query("network == 'residual' and masking == 'avg' and measure == 'error'")["value"].item()
    assert f"| {value:.2f} (".replace("0.", ".") in out
    assert Image.open(picture).size[0] > 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numbers.csv", "scenes.png"]


def test_one_scene_gives_no_intervals(capsys):
    assert main(["--networks", "plain", "--scenes", "1", "--maskings", "avg", "--shape", "grown", "--grow", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 scene a network")
    assert "One gives no intervals." in out
    assert "bootstrap" not in out
    assert "nan" not in out
    assert "(." not in out


def test_shapley_values(capsys):
    assert main(["--networks", "plain", "--scenes", "2", "--maskings", "zero", "--shapley"]) == 0
    out = capsys.readouterr().out
    assert "Rank correlation with the true Shapley values: occlusion" in out
    assert "Error of the Shapley values, ‖found − true‖ / ‖true‖: kernel_shap" in out


def test_training(tmp_path, capsys):
    assert main(["train", "--seed", "3", "--out", str(tmp_path), "--networks", "plain", "--scenes", "64"]) == 0
    assert "plain: accuracy" in capsys.readouterr().out
    assert (tmp_path / "plain.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "disc"], "unknown mask shape 'disc'"),
        (["--background", "smoth"], "unknown background 'smoth'"),
        (["--photographs", "nowhere"], "'nowhere' is not a folder"),
        (["--maskings", "agv"], "unknown masking 'agv'"),
        (["--networks", "vgg"], "unknown network 'vgg'"),
        (["--weights", "nowhere"], "unknown set of weights 'nowhere'"),
        (["--scenes", "0"], "must be at least 1, got 0"),
        (["--grow", "3"], "--grow 3 is only for --shape grown or --picture: leave it out with --shape exact"),
        (["--csv", "numbers.txt"], "expected a file that ends in .csv"),
        (["--csv", "nowhere/numbers.csv"], "'nowhere' is not a folder"),
        (["train", "--seed", "0"], "the following arguments are required: --out"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys):
    quick = [] if words[0] == "train" else ["--networks", "plain", "--scenes", "1", "--maskings", "zero"]
    assert main([*words[:1], *words[1:]] if words[0] == "train" else [*quick, *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert [line for line in said.err.splitlines() if "error" in line] == said.err.splitlines()[-1:]
    assert said.out == ""


def test_a_folder_without_images(tmp_path, capsys):
    assert main(["--photographs", str(tmp_path), "--networks", "plain"]) == 2
    assert "has no photographs" in capsys.readouterr().err
