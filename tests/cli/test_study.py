"""``captum-ad study`` and ``captum-ad report``: what is given, what comes out, what is refused."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from captum_ad._common.errors import InputError
from captum_ad._forwards.baseline_forward import NAMED
from captum_ad.cli.dataset import class_indices, read_dataset, some_of
from captum_ad.study.store import recorded, rows_of
from tests.cli.test_page import CHROMIUM
from tests.study.conftest import COLORS, here

__all__ = ["here"]

STUDY = ("photos", "--config", "study.toml")


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def study(here: Path, cli: Any) -> Any:
    def run(*words: Any, dataset: str = "photos") -> Any:
        return cli("study", dataset, "--config", "study.toml", *words)

    return run


def failure(ran: Any) -> str:
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err
    line: str = ran.err.strip().splitlines()[-1]
    assert line.startswith("captum-ad: error: ")
    return line


class TestStudy:
    def test_writes_records_tables_figures_and_a_page(self, study: Any, here: Path) -> None:
        ran = study("--out", "out", dataset="boxes.csv")
        assert ran.code == 0, ran.err
        out = here / "out"
        assert {path.name for path in out.iterdir()} == {
            *("records-0.sqlite", "study.json", "summary.csv", "scores.csv", "report.html", "tables", "figures")
        }
        whole = pd.read_csv(out / "summary.csv")
        assert set(whole["masking"]) == {"ad:paper", "zero", "avg"}
        assert set(whole["backgrounds"]) == {"K1", "K2"}
        assert (whole["n"] == 8).all()
        scores = pd.read_csv(out / "scores.csv")
        wanted = {"insertion", "deletion", "pointing", "energy", "missingness", "missingness confidence"}
        assert set(scores["score"]) == wanted | {"object drop", "specific drop"}
        assert {path.stem for path in (out / "tables").iterdir()} >= {
            *("accuracy", "mean-size-by-gamma", "size-against-the-best-baseline", "rho-by-gamma", "rho-at-equal-size"),
            *("rho-ad-against-each-baseline", "confidence-by-gamma", "judges"),
        }
        assert float(pd.read_csv(out / "tables" / "accuracy.csv")["accuracy"].iloc[0]) == 1
        about = json.loads((out / "study.json").read_text())["about"]
        assert about["settings"]["model"] == ["network.py:make"]
        assert "captum-ad study boxes.csv" in about["command"]

    def test_is_begun_once_and_goes_on_when_it_is_said(self, study: Any, here: Path) -> None:
        assert study("--images", 2, "--out", "out").code == 0
        first = recorded(here / "out")
        assert "already has records: continue with --resume" in failure(study("--out", "out"))
        assert study("--images", 3, "--out", "out", "--resume").code == 0
        assert len(recorded(here / "out")) == 3 * 9
        assert first <= recorded(here / "out")
        assert "seed: 0 there, 1 now" in failure(study("--seed", 1, "--out", "out", "--resume"))
        (here / "network.py").write_text((here / "network.py").read_text().replace('version = "1"', 'version = "2"'))
        assert "method 'network.py:method' has other code" in failure(study("--out", "out", "--resume"))

    def test_every_named_baseline_is_a_masking(self, study: Any, here: Path) -> None:
        assert (
            study("--dry-run", "--out", "out", "--maskings", *(name for name in NAMED if name != "inpaint")).code == 0
        )

    def test_dry_run_measures_nothing(self, study: Any, here: Path) -> None:
        ran = study("--dry-run", "--out", "out")
        assert ran.code == 0, ran.err
        assert re.search(r"72 units \(0 are recorded\): about [\d,]+ forwards under masks and 1,440 on", ran.out)
        assert "Memory: " in ran.out
        assert re.search(r"Time: about \d+ (s|min) with 1 process of 1 thread", ran.out)
        assert not (here / "out").exists()

    @pytest.mark.slow
    def test_report_merges_studies_of_other_images(self, study: Any, here: Path, cli: Any) -> None:
        assert study("--out", "whole").code == 0
        with open("boxes.csv") as file:
            lines = [line.rsplit(",", 4)[0] for line in file.read().split()]
        for name, rows in (("a", lines[1:5]), ("b", lines[5:])):
            Path(f"{name}.csv").write_text("\n".join([lines[0], *rows]))
            # K2 has to be the same
            ran = study("--out", name, "--backgrounds-from", "photos", dataset=f"{name}.csv")
            assert ran.code == 0, ran.err
        ran = cli("report", "a", "b", "--out", "both")
        assert ran.code == 0, ran.err
        both, whole = (pd.read_csv(here / name / "summary.csv") for name in ("both", "whole"))
        numbers = [name for name in both if not name.startswith("seconds")]
        pd.testing.assert_frame_equal(both[numbers], whole[numbers], rtol=1e-9)
        assert study("--out", "c", "--seed", 1, "--images", 2).code == 0
        assert "'c' has another configuration than 'a': seed: 0 there, 1 now" in failure(cli("report", "a", "c"))
        assert "'photos' has no results of a study" in failure(cli("report", "photos"))

    def test_several_models(self, study: Any, here: Path) -> None:
        ran = study("--model", "network.py:make", "--model", "demo", "--classes", "classes.txt", "--classes", "-")
        assert "4 of 4 classes of the data set are not classes of 'demo'" in failure(ran)
        assert "1 --classes for 2 --model" in failure(study("--model", "network.py:make", "--model", "demo"))


class TestImages:
    def test_odd_ones_are_read_and_unreadable_ones_left_out(self, study: Any, here: Path) -> None:
        folder, red = here / "photos" / "red", here / "photos" / "red" / "0.png"
        image = Image.open(red)
        image.convert("CMYK").save(folder / "cmyk.jpg")
        image.convert("L").save(folder / "gray.png")
        image.convert("RGBA").save(folder / "alpha.png")
        image.convert("P").save(folder / "palette.png")
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200).save(folder / "deep.png")
        exif = image.getexif()
        exif[0x0112] = 6
        image.resize((32, 64)).save(folder / "turned.jpg", exif=exif)
        (folder / "broken.jpg").write_bytes(b"no image")
        (folder / "cut.png").write_bytes(red.read_bytes()[:100])
        (folder / "empty.jpg").write_bytes(b"")
        ran = study("--out", "out", "--maskings", "zero", "--methods", "occlusion", "--judges", "--contexts", "K1")
        assert ran.code == 0, ran.err
        assert "3 images cannot be read and are left out:" in ran.err
        assert "'red/broken.jpg' is not an image that Pillow can read" in ran.err
        assert len(recorded(here / "out")) == 8 + 6
        page = (here / "out" / "report.html").read_text()
        assert "3 images were left out" in page
        turned = next(entry for entry in read_dataset(here / "photos") if entry.name == "red/turned.jpg")
        assert turned.image.size == (64, 32)

    def test_none_that_can_be_read(self, study: Any, here: Path) -> None:
        for path in (here / "photos").rglob("*.png"):
            path.write_bytes(b"nothing")
        assert "none of the 8 images can be read: 'blue/2.png' is not an image" in failure(study())

    def test_datasets_of_hugging_face(self, here: Path, cli: Any) -> None:
        datasets = pytest.importorskip("datasets")
        files = [entry.name for entry in read_dataset(here / "photos")]
        features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=list(COLORS))})
        rows = {"photo": [f"photos/{name}" for name in files], "kind": [name.split("/")[0] for name in files]}
        made = datasets.Dataset.from_dict(rows, features=features)
        made.save_to_disk("saved")
        entries = read_dataset(Path("saved"))
        assert [entry.class_name for entry in entries] == rows["kind"]
        assert [entry.image.tobytes() for entry in entries] == [
            e.image.tobytes() for e in read_dataset(here / "photos")
        ]
        datasets.DatasetDict({"train": made}).save_to_disk("splits")
        with pytest.raises(InputError, match=r"has the splits train: give one of them, splits.train"):
            read_dataset(Path("splits"))
        ran = cli("study", "saved", "--config", "study.toml", "--images", 2, "--out", "out")
        assert ran.code == 0, ran.err

    def test_some_of_them_are_drawn_by_the_seed(self, here: Path) -> None:
        entries = read_dataset(here / "photos")
        assert some_of(entries, None, 0) == some_of(entries, 99, 0) == entries
        drawn = [tuple(entry.name for entry in some_of(entries, 3, seed)) for seed in range(5)]
        assert len(set(drawn)) > 1
        assert drawn[0] == tuple(entry.name for entry in some_of(entries, 3, 0))
        assert all(list(names) == sorted(names) for names in drawn)


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--methods", "occlusions"), "unknown method 'occlusions': did you mean 'occlusion'"),
            (("--methods", "nowhere.py:f"), "no file at 'nowhere.py' for --methods"),
            (("--methods", "network.py:COLORS"), "network.py:COLORS cannot be called: --methods expects a function"),
            (("--maskings", "gray"), "unknown masking 'gray'"),
            (("--maskings", "ad:papre"), "unknown rule 'papre'"),
            (("--gammas", 1.5), "--gammas must be shares, 0 to 1, got 1.5"),
            (("--device", "toaster"), "--device 'toaster' cannot be used"),
            (("--backgrounds-from", "nowhere"), "no data set at 'nowhere'"),
        ],
    )
    def test_arguments(self, study: Any, here: Path, words: tuple[Any, ...], message: str) -> None:
        assert message in failure(study(*words, "--out", "out"))
        assert not (here / "out").exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sample = 3", "unknown setting in study.toml 'sample': did you mean 'samples'"),
            ("samples = 'many'", "samples in 'study.toml' must be a whole number of at least 2, got 'many'"),
            ("methods = 'lime'", "methods in 'study.toml' must be a list of strings, got 'lime'"),
            ("contexts = ['K3']", "unknown contexts in 'study.toml' 'K3'"),
            ("gammas = []", "gammas in 'study.toml' must be a list of numbers, got []"),
            ("samples =", "cannot read --config 'study.toml'"),
        ],
    )
    def test_settings(self, study: Any, here: Path, text: str, message: str) -> None:
        (here / "study.toml").write_text(text)
        assert message in failure(study())

    def test_folders_that_are_no_data_sets(self, here: Path) -> None:
        with pytest.raises(InputError, match="holds 2 images and no folders with images: expected a folder for each"):
            read_dataset(here / "photos" / "red")
        (here / "bare").mkdir()
        with pytest.raises(InputError, match="holds no images"):
            read_dataset(here / "bare")
        with pytest.raises(InputError, match=r"no data set at 'study\.toml'"):
            read_dataset(Path("study.toml"))

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([["file"], ["a.png"]], "needs the columns file and class"),
            ([["file", "class"]], "has no rows"),
            ([["file", "class"], ["a.png", ""]], "row 2: the file or its class is missing"),
            ([["file", "class"], ["a.png", "x"], ["a.png", "y"]], "row 3: 'a.png' already has a row"),
            ([["file", "class", "left"], ["a.png", "x", "1"]], "has left of a box: expected all of left, top"),
            ([["file", "class", *"ltrb"], ["a.png", "x", *"1234"]], None),
        ],
    )
    def test_tables(self, here: Path, rows: list[list[str]], message: str | None) -> None:
        with open("labels.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
        if message is None:
            assert read_dataset(Path("labels.csv"))[0].class_name == "x"
            return
        with pytest.raises(InputError, match=re.escape(message)):
            read_dataset(Path("labels.csv"))

    def test_classes_that_are_none_of_the_models(self) -> None:
        known = ["sea lion", "crane", "crane"]
        assert class_indices(["Sea_Lion", "2"], "net", known, 3) == {"Sea_Lion": 0, "2": 2}
        for names, message in ((["crane"], "'crane'"), (["3"], "'3'"), (["walrus", "sea lion"], "1 of 2 classes")):
            with pytest.raises(InputError, match=message):
                class_indices(names, "net", known, 3)
        pytest.importorskip("timm")
        assert class_indices(["n01440764", "n15075141"], "net", [], 1000) == {"n01440764": 0, "n15075141": 999}

    def test_an_error_of_a_method_keeps_what_is_done(self, study: Any, here: Path) -> None:
        code = (here / "network.py").read_text().replace("    calls += 1\n", "    calls += 1\n    assert calls < 4\n")
        (here / "network.py").write_text(code)
        assert "AssertionError" in failure(study("--out", "out"))
        done = recorded(here / "out")
        assert sum(unit.method == "network.py:method" for unit in done) == 3
        assert len(list(rows_of([here / "out"], "explanations"))) == 6 * sum(unit.method != "" for unit in done)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(study: Any, here: Path, tmp_path: Path, width: int, scheme: Any) -> None:
    if importlib.util.find_spec("playwright") is None or CHROMIUM is None:
        (pytest.fail if os.environ.get("BROWSER_REQUIRED") else pytest.skip)("needs playwright and Chromium")
    shutil.move(here / "photos" / "red", here / "photos" / "<i>&'red")
    (here / "classes.txt").write_text("\n".join(["<i>&'red", *list(COLORS)[1:]]) + "\n")
    assert study("--out", "out").code == 0
    text = (here / "out" / "report.html").read_text()
    assert "<i>&'" not in text
    assert not re.findall(r"https?://|@import|url\(", text)
    said: list[str] = []
    with importlib.import_module("playwright.sync_api").sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
        page.goto((here / "out" / "report.html").as_uri())
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth)")
        column = page.locator("#t1 thead button").nth(3)
        for descending in (False, True):
            column.click()
            shown = page.locator("#t1 tbody td:nth-child(4)").evaluate_all("cells => cells.map((c) => c.dataset.value)")
            numbers = [float(one) for one in shown if one is not None]
            assert numbers == sorted(numbers, reverse=descending)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark == ("rgb(22, 24, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
        page.screenshot(path=os.environ.get("SCREENSHOTS", str(tmp_path)) + f"/study-{width}.png", full_page=True)
        browser.close()
    assert not said
