"""Several photographs: what an interruption leaves, --resume, --force, and the table of means."""

import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from captum_ad.cli.report import write_summary
from captum_ad.cli.table import interval, results_table

QUICK = ("--methods", "feature_ablation", "--ad", "paper", "--baselines", "zero", "--out", "out")

LATER = """
import torch
from tiny_model import network, transform

class Stops(torch.nn.Module):
    error = KeyboardInterrupt
    def __init__(self, at):
        super().__init__()
        self.network, self.left = network(), at
    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            raise self.error("stopped")
        return self.network(x)

def stops():
    import pathlib
    return Stops(int(pathlib.Path("forwards").read_text())), transform()

def fails():
    made, how = stops()
    made.error = RuntimeError
    return made, how
"""


@pytest.fixture
def photos(here):
    """A folder of four photographs, and a model that stops after as many forwards as the file `forwards` says."""
    (here / "photos").mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(here / f"photos/{i}.png")
    (here / "later.py").write_text(LATER)
    (here / "forwards").write_text("0")
    return here


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def numbers(here):
    images = json.loads((here / "out/summary.json").read_text())["images"]
    for one in images:
        for columns in one["methods"].values():
            for measured in columns.values():
                del measured["seconds"]
    return images


@pytest.fixture
def interrupted(compare, photos):
    """A run of four that stops in the third."""
    for forwards in range(40, 400, 20):
        (photos / "forwards").write_text(str(forwards))
        ran = compare(*QUICK, "--force", model="later.py:stops", images=("photos",))
        if "2 of 4" in ran.err:
            return ran
    raise AssertionError(ran.err)


def test_an_interruption_loses_one_photograph(interrupted, photos):
    assert interrupted.code == 130
    assert "2 of 4 photographs are in 'out'; the same command with --resume continues" in interrupted.err
    assert files(photos / "out") == ["0.npz", "0.png", "1.npz", "1.png", "report.html", "summary.json"]
    assert [one["file"] for one in numbers(photos)] == ["photos/0.png", "photos/1.png"]


def test_resuming_ends_where_an_uninterrupted_run_does(interrupted, compare, photos):
    first = (photos / "out/0.npz").stat().st_mtime_ns
    (photos / "forwards").write_text("0")
    ran = compare(*QUICK, "--resume", model="later.py:stops", images=("photos",))
    assert ran.code == 0, ran.err
    assert (photos / "out/0.npz").stat().st_mtime_ns == first
    resumed = numbers(photos)
    assert len(resumed) == 4
    assert compare(*QUICK, "--force", model="later.py:stops", images=("photos",)).code == 0
    assert numbers(photos) == resumed
    assert "mean size" in ran.out
    assert "Means over 4 photographs" in ran.out


def test_resuming_wants_the_same_settings_and_photographs(interrupted, compare, photos):
    (photos / "forwards").write_text("0")
    given = {"model": "later.py:stops", "images": ("photos",)}
    assert "seed 0 (now 5)" in compare(*QUICK, "--resume", "--seed", 5, **given).error
    others = {**given, "images": ("photos/1.png",)}
    assert "has 'photos/0.png', which is not among" in compare(*QUICK, "--resume", **others).error
    assert "continue it with --resume" in compare(*QUICK, **given).error


def test_a_photograph_whose_files_are_gone_is_explained_anew(interrupted, compare, photos):
    (photos / "out/0.npz").unlink()
    (photos / "forwards").write_text("0")
    assert compare(*QUICK, "--resume", model="later.py:stops", images=("photos",)).code == 0
    assert sorted(one["file"] for one in numbers(photos)) == [f"photos/{i}.png" for i in range(4)]
    assert (photos / "out/0.npz").exists()


def test_resuming_what_never_began_begins(compare, photos):
    assert compare(*QUICK, "--resume", images=("photos",)).code == 0
    assert len(numbers(photos)) == 4


def test_an_error_in_the_third_leaves_two(interrupted, compare, photos):
    ran = compare(*QUICK, "--force", model="later.py:fails", images=("photos",))
    assert ran.code == 2
    assert "stopped" in ran.err
    assert files(photos / "out") == ["0.npz", "0.png", "1.npz", "1.png", "report.html", "summary.json"]


def test_a_full_disk_says_what_is_finished_and_how_it_goes_on(compare, photos, monkeypatch):
    written = []

    def full(folder, summary):
        written.append(folder)
        if len(written) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_summary(folder, summary)

    with monkeypatch.context() as patch:
        patch.setattr("captum_ad.cli.compare.write_summary", full)
        patch.setattr("captum_ad.cli.compare.write_page", full)  # nor is there room for that
        ran = compare(*QUICK, images=("photos",))
    assert ran.code == 2
    assert "cannot write to 'out': No space left on device" in ran.err
    assert "--resume continues" in ran.err
    assert compare(*QUICK, "--resume", images=("photos",)).code == 0
    assert len(files(photos / "out")) == 10


def test_force_leaves_no_older_file_that_the_summary_does_not_know(compare, photos):
    assert compare(*QUICK, images=("photos",)).code == 0
    (photos / "out/mine.txt").write_text("keep")
    assert compare(*QUICK, "--force", images=("photos/3.png", "photo.png")).code == 0
    kept = ["3.npz", "3.png", "mine.txt", "photo.npz", "photo.png", "report.html", "summary.json"]
    assert files(photos / "out") == kept


def test_a_summary_cannot_have_files_elsewhere_removed(compare, photos):
    assert compare(*QUICK, images=("photos/0.png",)).code == 0
    summary = json.loads((photos / "out/summary.json").read_text())
    summary["images"][0]["figure"] = "../photo.png"
    (photos / "out/summary.json").write_text(json.dumps(summary))
    assert compare(*QUICK, "--force", images=("photos/1.png",)).code == 0
    assert (photos / "photo.png").exists()


def entry(size, method="occlusion", column="a rather long masking, growth=none,border=mean"):
    found = {
        "found": size is not None,
        "size": size,
        "confidence": 0.5,
        "rho": 0.25,
        "rho_at_equal_size": 0.5,
        "empty": False,
    }
    return {"methods": {method: {column: {"seconds": 1.0, "explanation": found}}}}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["archive", "figure", "photograph"])
def test_what_is_damaged_or_has_changed_is_explained_again(compare, photos, damage):
    assert compare(*QUICK, images=("photos",)).code == 0
    whole = (photos / "out/1.npz").read_bytes()
    if damage == "archive":
        (photos / "out/1.npz").write_bytes(whole[:100])
    elif damage == "figure":
        (photos / "out/1.png").write_bytes(b"")
    else:
        Image.open(photos / "photos/1.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(photos / "photos/1.png")
    ran = compare(*QUICK, "--resume", images=("photos",))
    assert ran.code == 0, ran.err
    assert "2/2" in ran.err  # maps: of one photograph
    with np.load(photos / "out/1.npz") as archive:
        assert archive.files
    assert (photos / "out/1.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda s: {**s, "images": [1, 2]}, lambda s: {**s, "images": [{}]}, lambda s: []])
def test_a_damaged_summary_is_no_traceback(compare, photos, damage):
    assert compare(*QUICK, images=("photos",)).code == 0
    summary = json.loads((photos / "out/summary.json").read_text())
    (photos / "out/summary.json").write_text(json.dumps(damage(summary)))
    ran = compare(*QUICK, "--resume", images=("photos",))
    assert ran.code in (0, 2)
    assert "Traceback" not in ran.err


def test_other_code_or_names_are_another_run(compare, photos):
    names = photos / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    assert compare(*QUICK, images=("photos",)).code == 0
    ran = compare(*QUICK, "--resume", "--classes", "names.txt", images=("photos",))
    assert ran.code == 2
    assert "other settings, classes" in ran.err
    code = photos / "tiny_model.py"
    code.write_text(code.read_text() + "\n# another network\n")
    ran = compare(*QUICK, "--resume", images=("photos",))
    assert ran.code == 2
    assert "other settings, code" in ran.err


class TestTable:
    def test_nothing_is_cut(self):
        table = results_table([entry(0.25)] * 200)
        assert "…" not in table
        assert "..." not in table
        assert "a rather long masking, growth=none,border=mean" in table
        assert "0.25 (0.25 to 0.25)" in table

    def test_one_photograph_has_no_means(self):
        assert "mean" not in results_table([entry(0.25, column="zero")])

    def test_those_without_an_explanation_are_counted(self):
        table = results_table([entry(0.2, column="zero"), entry(None, column="zero")])
        assert "1 of 2" in table
        assert "0.20" in table
        assert "–" in results_table([entry(None, column="zero")])

    @pytest.mark.slow
    def test_an_interval_holds_the_mean_of_nearly_all_samples(self):
        rng = np.random.default_rng(0)
        inside = 0
        for _ in range(40):
            low, high = interval(list(rng.normal(0.5, 0.1, 30)))
            inside += low <= 0.5 <= high
        assert 32 <= inside <= 40
