"""The localization benchmark on plain colors, whose classes a network of two lines sees where they are."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad.benchmarks.localization import localize, main, markdown, measuring
from captum_ad.metrics import make_collages

MODULE = """
import torch
from torch import nn
from torchvision import transforms

class Colors(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
    def forward(self, x):
        red, green, blue = x.relu().mean((2, 3)).unbind(1)  # the brightest one is the answer
        return self.scale * torch.stack([red, green, blue, (red + green + blue) / 5], 1)

def colors():
    return Colors(), transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
"""
QUICK = ("--samples", 30, "--segments", 16, "--window", 4, "--grid", 1, 2, "--model", "color_model:colors")


class Colors(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return self.scale * x.relu().mean((2, 3))


def some(n):
    """Of seven images of three colors, each brighter than the one before."""
    brightness = 1 + 0.3 * torch.arange(7)[:, None, None, None]
    images = brightness * torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]][:, :, None, None].expand(7, 3, 16, 16)
    return make_collages(Colors().eval(), images, grid=(1, 2), n=n)


@pytest.fixture
def collages():
    return some(4)


def measured(collages, maskings=("zero", "ad:no-growth"), methods=("occlusion",), **settings):
    named = {masking: masking for masking in maskings}
    return localize(Colors().eval(), collages, methods, named, window=4, samples=30, segments=16, **settings)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "color_model.py").write_text(MODULE)
    for i, name in enumerate(("red", "green", "blue")):
        pixels = np.zeros((20, 20, 3), dtype=np.uint8)
        pixels[..., i] = 255 - 50 * i
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "color_model", raising=False)
    threads = torch.get_num_threads()

    def run(*words, images=("red.png", "green.png", "blue.png")):
        code = main([str(word) for word in (*images, *QUICK, *words)])
        return (code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


def test_a_network_that_sees_colors_where_they_are_is_localized(collages):
    """But for windows that reach across the border between the cells."""
    records = measured(collages, methods=("occlusion", "lime"))
    assert len(records) == 4 * 2 * 2
    assert (records[records["method"] == "occlusion"]["share"] > 0.8).all()
    for row in records.to_dict("records"):
        i, cell = row["collage"], row["cell"]
        assert cell == collages.explained[i]
        assert row["photograph"] == collages.images[i, cell]
        assert row["target"] == collages.targets[i, cell]
        assert row["confidence"] == pytest.approx(Colors()(collages.x)[i].softmax(0)[row["target"]].item())


def test_it_goes_on_where_it_was(collages, tmp_path, monkeypatch):
    path = tmp_path / "records.csv"
    whole = measured(collages, path=path)
    monkeypatch.setattr("captum_ad.benchmarks.localization.measuring.explain", None)  # nothing is explained again
    pd.testing.assert_frame_equal(measured(collages, path=path), whole)
    pd.read_csv(path).iloc[:3].to_csv(path, index=False)
    with pytest.raises(TypeError):
        measured(collages, path=path)
    monkeypatch.undo()
    resumed = measured(collages, path=path)
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), whole.drop(columns="seconds"))


def test_more_collages_go_on_from_fewer(tmp_path):
    path = tmp_path / "records.csv"
    few, many = measured(some(3), path=path), measured(some(5), path=path)
    pd.testing.assert_frame_equal(many.iloc[: len(few)], few)  # the same seconds: not explained again


def test_another_function_of_the_same_name_is_not_taken_for_this_one(collages, tmp_path):
    def paint(value):
        return lambda x, mask: x * 0 + value

    def localized(value, path):
        how = {"mine": paint(value), "zero": "zero"}
        return localize(Colors().eval(), collages, ["occlusion"], how, window=4, path=path)["share"].tolist()

    path = tmp_path / "records.csv"
    assert localized(0.0, path) == localized(0.0, None)
    assert localized(0.7, path) == localized(0.7, None) != localized(0.0, None)


def test_a_file_of_other_settings_is_refused(collages, tmp_path):
    path = tmp_path / "records.csv"
    measured(collages, path=path)
    with pytest.raises(ValueError, match="other settings or weights"):
        measured(collages, path=path, seed=1)
    with pytest.raises(ValueError, match="no directory"):
        measured(collages, path=tmp_path / "none" / "records.csv")


def test_a_file_of_other_collages_is_refused(collages, tmp_path):
    """Their records would stand beside these under the same numbers."""
    path = tmp_path / "records.csv"
    measured(collages, path=path)
    before = path.read_bytes()
    brighter = dataclasses.replace(collages, x=1.01 * collages.x)
    with pytest.raises(ValueError, match=r"records of other collages \(other photographs or another draw"):
        measured(brighter, path=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", ["", "high", "inf", "1.5"])
def test_damaged_records_are_measured_again(collages, tmp_path, share):
    path = tmp_path / "records.csv"
    whole = measured(collages, path=path)
    records = pd.read_csv(path, dtype=str)
    records.loc[2, "share"] = share
    records.to_csv(path, index=False)
    pd.testing.assert_frame_equal(measured(collages, path=path).drop(columns="seconds"), whole.drop(columns="seconds"))


def table_of(shares, photographs=(0, 1, 2)):
    rows = [
        {"collage": i, "photograph": photographs[i], "method": "occlusion", "masking": masking, "share": value}
        for masking, values in shares.items()
        for i, value in enumerate(values)
    ]
    return markdown(pd.DataFrame(rows))


SHARES = {"ad:paper": [0.5, 0.6, 0.7], "zero": [0.4, 0.5, 0.6], "max": [0.3, 0.3, 0.3]}


def test_the_table_pairs_by_collage():
    table = table_of(SHARES)
    assert "| occlusion | ad:paper | .60 (" in table
    assert "+.10 (+.10 to +.10)" in table  # always .1 above zero, the best paint
    assert "| occlusion | zero | .50 (.40 to .60) | best |" in table
    assert "| occlusion | max | .30 (.30 to .30) | −.20 (−.30 to −.10) |" in table


def test_one_explained_photograph_gives_no_interval():
    assert "| occlusion | zero | .50 | best |" in table_of(SHARES, (4, 4, 4))
    assert "| occlusion | ad:paper | .60 | +.10 |" in table_of(SHARES, (4, 4, 4))


def test_collages_of_one_photograph_stand_or_fall_together():
    """Twice as many collages of the same photographs say no more about others."""

    def width(shares, photographs):
        row = next(line for line in table_of({"zero": shares}, photographs).splitlines() if "zero" in line)
        low, high = re.search(r"\((\S+) to (\S+)\)", row).groups()
        return float(high) - float(low)

    shares = np.random.default_rng(0).random(20).tolist()
    alone, doubled = width(shares, range(20)), width(shares * 2, [*range(20)] * 2)
    assert doubled == pytest.approx(alone, abs=0.011)
    assert width(shares * 2, range(40)) < 0.8 * alone


def test_the_command_prints_a_table_and_goes_on_from_its_file(command, tmp_path):
    words = ("--collages", 3, "--maskings", "ad:no-growth", "zero", "linear", "--csv", "out.csv")
    code, first, _ = command(*words)
    assert code == 0
    assert "3 collages of 1 × 2, of 3 of 3 photographs (the classes are the network's own answers), seed 0" in first
    assert "2 different photographs are explained" in first
    assert "95 % bootstrap intervals over these 2." in first
    assert re.search(r"with a confidence of \.\d\d on average and \.\d\d at least. Chance: .50", first)
    assert "The best paint was chosen on these collages" in first
    assert first.count("\n| occlusion |") == first.count("\n| lime |") == 3
    before = (tmp_path / "out.csv").read_bytes()
    assert command(*words)[:2] == (0, first)
    assert (tmp_path / "out.csv").read_bytes() == before


def test_one_collage_says_that_it_gives_no_interval(command):
    _, out, _ = command("--collages", 1, "--maskings", "ad:no-growth", "zero", "--methods", "occlusion")
    assert "1 collage of 1 × 2" in out
    assert "One photograph gives no intervals." in out
    assert "bootstrap" not in out
    assert " to " not in out.split("\n\n")[1]


def test_labels_say_what_is_right(command, tmp_path):
    """What the network gets wrong is in no collage."""
    (tmp_path / "labels.csv").write_text("file,index\nred.png,0\ngreen.png,1\nblue.png,3\n")
    words = ("--labels", "labels.csv", "--maskings", "ad:no-growth", "zero", "--methods", "occlusion", "--collages")
    code, out, _ = command(*words, 1, images=())
    assert code == 0
    assert "of 2 of 3 photographs (the classes are those given)" in out
    assert "enough for 1 different collages" in command(*words, 2, images=())[2]


def test_an_interrupted_command_says_what_is_left(command, monkeypatch):
    real = measuring.explain

    def explain(*given):
        explain.left -= 1
        if explain.left < 0:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(measuring, "explain", explain)
    words = ("--maskings", "ad:no-growth", "zero", "--collages", 2)
    for more, said in (((), "nothing was written"), (("--csv", "out.csv"), "continues from 'out.csv'")):
        explain.left = 2
        code, out, err = command(*words, *more)
        assert (code, out) == (130, "")
        assert said in err
        assert "Traceback" not in err
    explain.left = 99
    assert command(*words, "--csv", "out.csv")[0] == 0
    assert explain.left == 99 - (8 - 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--maskings", "zeros", "avg"), "'zero'"),
        (("--methods", "occlusoin"), "'occlusion'"),
        (("--grid", "2", "2"), "needs 4 different classes"),
        (("--collages", "4"), "enough for 3 different collages"),
        (("--maskings", "zero"), "at least two maskings"),
        (("--device", "nowhere"), "cannot be used"),
        (("--threads", "0"), "--threads: must be at least 1, got 0"),
        (("--window", "0"), "--window: must be at least 1, got 0"),
        (("--samples", "0"), "--samples: must be at least 2, got 0"),
        (("--segments", "0"), "--segments: must be at least 2, got 0"),
        (("--collages", "0"), "--collages: must be at least 1, got 0"),
        (("--batch-size", "0"), "--batch-size: must be at least 1, got 0"),
        (("--seed", "-1"), "--seed: must be at least 0, got -1"),
        (("--min-confidence", "2"), "min_confidence must be a number from 0 to 1"),
        (("--labels", "nowhere.csv"), "cannot read 'nowhere.csv'"),
        (("--csv", "nowhere/out.csv"), "no directory 'nowhere'"),
        (
            ("--nonsense",),
            "unrecognized arguments: --nonsense (see python -m captum_ad.benchmarks.localization --help)",
        ),
    ],
)
def test_bad_input_is_one_line(command, words, message):
    code, out, err = command("--collages", 2, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert [line for line in err.splitlines() if "error" in line] == err.splitlines()[-1:]


def test_no_photographs(command):
    assert "give photographs, or --labels" in command(images=())[2]
