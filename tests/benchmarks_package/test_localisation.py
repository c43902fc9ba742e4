"""The localisation benchmark on plain colours, whose classes a network of two lines sees where they are."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad.benchmarks.localisation import localise, main, markdown
from captum_ad.metrics import make_collages

MODULE = """
import torch
from torch import nn
from torchvision import transforms

class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
    def forward(self, x):
        red, green, blue = x.relu().mean((2, 3)).unbind(1)
        return self.scale * torch.stack([red, green, blue, (red + green + blue) / 5], 1)

def colours():
    return Colours(), transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
"""
QUICK = ("--samples", 30, "--segments", 16, "--window", 4, "--grid", 1, 2, "--model", "colour_model:colours")


class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return self.scale * x.relu().mean((2, 3))


def some(n):
    images = torch.eye(3)[:, :, None, None].expand(3, 3, 16, 16).contiguous()
    return make_collages(Colours().eval(), images, grid=(1, 2), n=n)


@pytest.fixture
def collages():
    return some(4)


def measured(collages, maskings=("zero", "ad:no-growth"), methods=("occlusion",), **settings):
    named = {masking: masking for masking in maskings}
    return localise(Colours().eval(), collages, methods, named, window=4, samples=30, segments=16, **settings)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "colour_model.py").write_text(MODULE)
    for name, colour in {"red": 0, "green": 1, "blue": 2}.items():
        pixels = np.zeros((20, 20, 3), dtype=np.uint8)
        pixels[..., colour] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "colour_model", raising=False)
    threads = torch.get_num_threads()

    def run(*words, images=("red.png", "green.png", "blue.png")):
        code = main([str(word) for word in (*images, *QUICK, *words)])
        return (code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


def test_a_network_that_sees_colours_where_they_are_is_localised(collages):
    """But for windows that reach across the border between the cells."""
    records = measured(collages, methods=("occlusion", "lime"))
    assert len(records) == 4 * 2 * 2
    assert (records[records["method"] == "occlusion"]["share"] > 0.8).all()
    for row in records.to_dict("records"):
        assert collages.targets[row["collage"], row["cell"]] == row["target"]
        assert 0 < row["confidence"] <= 1


def test_it_goes_on_where_it_was(collages, tmp_path, monkeypatch):
    path = tmp_path / "records.csv"
    whole = measured(collages, path=path)
    monkeypatch.setattr("captum_ad.benchmarks.localisation.explain", None)  # nothing is explained again
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

    def localised(value, path):
        how = {"mine": paint(value), "zero": "zero"}
        return localise(Colours().eval(), collages, ["occlusion"], how, window=4, path=path)["share"].tolist()

    path = tmp_path / "records.csv"
    assert localised(0.0, path) == localised(0.0, None)
    assert localised(0.7, path) == localised(0.7, None) != localised(0.0, None)


def test_a_file_of_other_settings_is_refused(collages, tmp_path):
    path = tmp_path / "records.csv"
    measured(collages, path=path)
    with pytest.raises(ValueError, match="other settings or weights"):
        measured(collages, path=path, seed=1)
    with pytest.raises(ValueError, match="no directory"):
        measured(collages, path=tmp_path / "none" / "records.csv")


def test_the_table_pairs_by_collage():
    shares = {"ad:paper": [0.5, 0.6, 0.7], "zero": [0.4, 0.5, 0.6], "max": [0.3, 0.3, 0.3]}
    rows = [
        {"collage": i, "method": "occlusion", "masking": masking, "share": value}
        for masking, values in shares.items()
        for i, value in enumerate(values)
    ]
    table = markdown(pd.DataFrame(rows))
    assert "| occlusion | ad:paper | 0.60 (" in table
    assert "+0.10 (+0.10 to +0.10)" in table  # always .1 above zero, the best paint
    assert "| occlusion | zero | 0.50 (0.40 to 0.60) | best |" in table
    assert "| occlusion | max | 0.30 (0.30 to 0.30) | -0.20 (" in table


def test_the_command_prints_a_table_and_goes_on_from_its_file(command, tmp_path):
    words = ("--collages", 3, "--maskings", "ad:no-growth", "zero", "linear", "--csv", "out.csv")
    code, first, _ = command(*words)
    assert code == 0
    assert "3 collages of 1 × 2 of 3 photographs, seed 0. Chance: 0.50." in first
    assert first.count("\n| occlusion |") == first.count("\n| lime |") == 3
    before = (tmp_path / "out.csv").read_bytes()
    assert command(*words)[:2] == (0, first)
    assert (tmp_path / "out.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--maskings", "zeros", "avg"), "'zero'"),
        (("--methods", "occlusoin"), "'occlusion'"),
        (("--grid", "2", "2"), "of 3 classes"),
        (("--collages", "7"), "makes 6 different collages"),
        (("--maskings", "zero"), "two maskings at least"),
        (("--device", "nowhere"), "cannot be used"),
    ],
)
def test_bad_input_is_one_line(command, words, message):
    code, out, err = command("--collages", 2, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
