"""``captum-ad rules``: photographs, labels and boxes in; table, records, figure and one sentence out."""

import csv
import io
import shutil
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from captum_ad.cli.labels import read_labels
from captum_ad.metrics import recommend_rule

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
FILES = ["records.csv", "rules.png", "table.md"]

CROPPING = """
import torch
from torch import nn
from torchvision import transforms

def crops():
    transform = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(16), transforms.ToTensor()])
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[0.0] * 3, [4.0] * 3]))
        model[2].bias.copy_(torch.tensor([4.0, 0.0]))
    return model, transform
"""


@pytest.fixture
def rules(here, cli):
    """``captum-ad rules`` with a network that says 1 to bright images and 0 to dark ones, under two maskings."""
    (here / "bright.py").write_text(textwrap.dedent(CROPPING))

    def run(*argv, images=("photo.png",), model="bright:crops", maskings=("zero", "max")):
        given = ("--maskings", *maskings) if maskings else ()
        return cli("rules", *images, "--model", model, *given, *argv)

    return run


@pytest.fixture
def seven(here):
    """Seven photographs of 48 × 24 pixels, the last one black."""
    names = [f"{i}.png" for i in range(7)]
    for i, name in enumerate(names):
        pixels = np.full((24, 48, 3), 200 + i if i < 6 else 0, dtype=np.uint8)
        Image.fromarray(pixels).save(here / name)
    return names


def table_of(path, rows, columns):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


class TestWritten:
    def test_table_records_and_figure(self, rules, seven, here):
        ran = rules(images=seven)
        assert ran.code == 0, ran.err
        folder = here / "captum-ad-rules"
        assert sorted(path.name for path in folder.iterdir()) == FILES
        assert not [path for path in here.iterdir() if path.name.startswith(".captum-ad")]
        records = pd.read_csv(folder / "records.csv")
        assert list(records["image"].unique()) == seven
        assert records["target"].tolist() == [1] * 9 * 6 + [0] * 9
        with Image.open(folder / "rules.png") as figure:
            assert figure.width > figure.height > 200
        text = (folder / "table.md").read_text()
        for said in (ran.out, text):
            assert "| max | 1.00" in said
            assert "right on 7 of 7 whole photographs (the classes are the network's own answers)" in said
            assert "Transform: Compose( Resize(size=24" in said
            assert "No clear winner" in said or "Use BaselineForward(model, 'max')" in said
        assert text.startswith("`captum-ad rules 0.png 1.png")
        assert "14/14" in ran.err

    def test_the_numbers_are_those_of_the_function(self, rules, seven, here):
        assert (
            rules(
                "--seed", 3, images=seven, model="tiny_model:tiny", maskings=("ad:growth=none,sum=intersection", "avg")
            ).code
            == 0
        )
        import tiny_model

        model, transform = tiny_model.tiny()
        images = {name: transform(Image.open(name)) for name in seven}
        expected = recommend_rule(model.eval(), images, maskings=["ad:growth=none,sum=intersection", "avg"], seed=3)
        pd.testing.assert_frame_equal(pd.read_csv("captum-ad-rules/records.csv"), expected.records)

    def test_all_maskings_and_shipped_photographs_are_the_default(self, rules):
        ran = rules(images=(), model="tiny_model:tiny", maskings=())
        assert ran.code == 0, ran.err
        assert "of 3 whole photographs" in ran.out
        assert "No recommendation from" in ran.out
        for masking in ("ad:paper", "ad:no-growth-mean", "zero", "blur", "inpaint"):
            assert f"\n| {masking} |" in ran.out

    def test_csv(self, rules, seven):
        ran = rules("--csv", images=seven)
        table = pd.read_csv(io.StringIO(ran.out.split("\n\n")[0]))
        assert set(table["masking"]) == {"zero", "max"}
        assert {"mean", "low", "high", "difference_low"} <= set(table.columns)

    def test_it_goes_on_from_a_file(self, rules, seven, here):
        assert rules("--resume", "going.csv", images=seven).code == 0
        first = (here / "going.csv").read_bytes()
        assert first == (here / "captum-ad-rules" / "records.csv").read_bytes()
        assert rules("--resume", "going.csv", "--out", "again", images=seven).code == 0
        assert (here / "again" / "records.csv").read_bytes() == first
        assert "other settings" in rules("--resume", "going.csv", "--seed", 1, "--out", "third", images=seven).err

    def test_threads_are_given_back(self, rules):
        before = torch.get_num_threads()
        assert rules("--threads", before + 1).code == 0
        assert torch.get_num_threads() == before


class TestLabels:
    def test_what_the_labels_say_is_right(self, rules, seven, here):
        table_of(here / "labels.csv", [(name, 1) for name in seven], ["file", "index"])
        ran = rules("--labels", "labels.csv", images=())
        assert ran.code == 0, ran.err
        assert "right on 6 of 7 whole photographs (the classes are those given)" in ran.out
        assert ran.out.count("Use BaselineForward(model, 'max')") == 1

    def test_photographs_go_by_their_names(self, rules, seven, here):
        table_of(here / "labels.csv", [(f"elsewhere/{name}", 1) for name in seven], ["file", "index"])
        ran = rules("--labels", "labels.csv", images=seven[2:6])
        assert "right on 4 of 4" in ran.out

    def test_the_same_file_name_in_two_folders(self, rules, seven, here):
        for folder in ("A", "B"):
            (here / folder).mkdir()
            shutil.copy(seven[0], here / folder / "x.png")
        images = ("A/x.png", "B/x.png")
        table_of(here / "both.csv", [("B/x.png", 0), ("A/x.png", 1)], ["file", "index"])
        assert rules("--labels", "both.csv", images=images).code == 0
        records = pd.read_csv("captum-ad-rules/records.csv")
        assert dict(zip(records["image"], records["target"])) == {"A/x.png": 1, "B/x.png": 0}
        table_of(here / "one.csv", [("A/x.png", 1)], ["file", "index"])
        assert "has no row for 'B/x.png': add it" in rules("--labels", "one.csv", images=images).err
        table_of(here / "elsewhere.csv", [("C/x.png", 1)], ["file", "index"])
        assert "which 'A/x.png', 'B/x.png' have too" in rules("--labels", "elsewhere.csv", images=images).err
        table_of(here / "two.csv", [("C/x.png", 1), ("D/x.png", 1)], ["file", "index"])
        assert "which 'C/x.png', 'D/x.png' have too" in rules("--labels", "two.csv", images=images[:1]).err

    def test_a_network_that_is_never_right_is_said_with_the_transform(self, rules, seven, here):
        table_of(here / "labels.csv", [(name, 0) for name in seven], ["file", "index"])
        ran = rules("--labels", "labels.csv", images=seven[:6])
        assert ran.code == 2
        assert "right on none of the 6 whole photographs (accuracy 0 %)" in ran.err
        assert "Transform: Compose( Resize(size=24" in ran.err
        assert not (here / "captum-ad-rules").exists()

    @pytest.mark.parametrize(
        ("columns", "rows", "message"),
        [
            (["file"], [("0.png",)], "lacks index: expected the columns file, index"),
            (["file", "index"], [("0.png", "one")], "row 2: expected whole numbers, got index='one'"),
            (["file", "index"], [("0.png",)], "row 2: expected whole numbers"),
            (["file", "index"], [("0.png", 1), ("./0.png", 1)], "row 3: '0.png' already has a row"),
            (["file", "index"], [], "has no rows"),
            (["file", "index"], [("1.png", 1)], "has no row for '0.png'"),
            (["file", "index"], [("0.png", 2)], "class 2: the model has classes 0 to 1"),
        ],
    )
    def test_bad_files(self, rules, seven, here, columns, rows, message):
        table_of(here / "labels.csv", rows, columns)
        ran = rules("--labels", "labels.csv", images=("0.png",))
        assert ran.code == 2
        assert message in ran.err
        assert not (here / "captum-ad-rules").exists()

    def test_no_file_or_both(self, rules, seven):
        assert "cannot read 'nowhere.csv'" in rules("--labels", "nowhere.csv").err
        assert "not allowed with" in rules("--labels", "a.csv", "--boxes", "b.csv").err


class TestBoxes:
    BOXED = ("file", "index", "left", "top", "right", "bottom")

    @pytest.mark.parametrize("left_out", [10, 30])  # of 48 columns 16 to 31 remain: none of it, or 14 of 30
    def test_objects_that_are_mostly_cropped_away_are_left_out(self, rules, seven, here, left_out):
        rows = [(name, 1, 16, 8, 32, 16) for name in seven[:5]] + [(seven[5], 1, 0, 0, left_out, 24)]
        ran = rules("--boxes", table_of(here / "boxes.csv", rows, self.BOXED), images=())
        assert ran.code == 0, ran.err
        assert "right on 5 of 5" in ran.out
        assert "Left out: 1 more, because the transform crops away more than half of the object." in ran.out
        records = pd.read_csv("captum-ad-rules/records.csv")
        assert {"object alone", "object hidden"} <= set(records["test"])
        assert (records["test"] == "control hidden").sum() == 0  # 16 × 8 of 16 × 16 pixels: in the middle, no room
        assert "0 of 5 photographs have room" in ran.out

    def test_all_cropped_away(self, rules, seven, here):
        rows = [(seven[0], 1, 0, 0, 10, 24)]
        ran = rules("--boxes", table_of(here / "boxes.csv", rows, self.BOXED), images=())
        assert "crops more than half of the object away in all 1 photographs" in ran.err

    @pytest.mark.parametrize("box", [(0, 0, 49, 24), (5, 5, 5, 9), (-1, 0, 4, 4), (9, 9, 4, 4)])
    def test_boxes_outside_of_the_photograph(self, rules, seven, here, box):
        ran = rules("--boxes", table_of(here / "boxes.csv", [(seven[0], 1, *box)], self.BOXED), images=())
        assert ran.code == 2
        assert "is empty or not within its 48 × 24 pixels" in ran.err

    def test_labels_need_no_boxes_but_boxes_do(self, here):
        path = table_of(here / "l.csv", [("a.png", 3)], ["file", "index"])
        assert read_labels(path, boxed=False)[0].index == 3
        with pytest.raises(Exception, match="lacks left, top, right, bottom"):
            read_labels(path, boxed=True)


class TestCommand:
    def test_help_is_in_sentences(self, cli):
        for command in ("rules", "compare"):
            ran = cli(command, "--help")
            assert ran.code == 0
            assert "--model" in ran.out
        assert {"rules", "compare"} <= set(cli("--help").out.split())

    def test_unknown_maskings(self, rules):
        assert "unknown rule 'papr': did you mean 'paper'" in rules(maskings=("zero", "ad:papr")).err
        assert "unknown masking 'zeros': did you mean 'zero'" in rules(maskings=("zeros", "ad:paper")).err
        assert "unknown value for MaskRule.growth" in rules(maskings=("zero", "ad:growth=sideways")).err
        assert "at least two maskings" in rules(maskings=("zero",)).err

    def test_a_model_that_breaks(self, rules):
        ran = rules(model="tiny_model:breaks_first")
        assert ran.code == 2
        assert "RuntimeError: broke midway" in ran.err
        assert "Traceback" not in ran.err

    def test_an_interrupted_run_says_what_is_left(self, rules, seven, here):
        ran = rules("--resume", "going.csv", images=seven, model="tiny_model:interrupted", maskings=())
        assert ran.code == 130
        assert "the same command continues from 'going.csv'" in ran.err
        assert (here / "going.csv").exists()
        assert not (here / "captum-ad-rules").exists()
        ran = rules(images=seven, model="tiny_model:interrupted", maskings=())
        assert "interrupted, nothing was written; with --resume FILE.csv an interrupted command can" in ran.err
