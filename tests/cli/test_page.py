"""The page of a report: what is in it, and what it does in a browser where there is one."""

import importlib.util
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from captum_ad.cli import page as page_module
from captum_ad.metrics.description import describe, percent

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def report(compare, here):
    """A report of two photographs, one of them with markup in its name."""
    shutil.copy(here / "photo.png", here / "<b>&'.png")
    ran = compare(
        *("--methods", "occlusion", "lime", "--ad", "paper", "--baselines", "zero", "--backgrounds", 4),
        images=("photo.png", "<b>&'.png"),
    )
    assert ran.code == 0, ran.err
    return here / "captum-ad-report"


def data(report):
    (line,) = re.findall(r"^const PHOTOGRAPHS = (.*), GAMMA", (report / "report.html").read_text(), re.MULTILINE)
    return json.loads(line)


class TestContents:
    def test_nothing_is_fetched(self, report):
        text = (report / "report.html").read_text()
        assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", text)
        assert not re.findall(r"https?://|@import|url\(", text)

    def test_names_are_no_markup(self, report):
        assert "<b>" not in (report / "report.html").read_text()
        assert data(report)[1]["title"].startswith("Sequential on <b>&': class")

    def test_the_maps_are_those_of_the_archive(self, report):
        (one, _) = data(report)
        assert [(m["method"], m["masking"]) for m in one["maps"]] == [
            (m, c) for m in ("Occlusion", "Lime") for c in ("AD: paper", "baseline: zero")
        ]
        with np.load(report / "photo.npz") as archive:
            for found, key in zip(one["maps"], ("occlusion/ad:paper", "occlusion/zero", "lime/ad:paper", "lime/zero")):
                explained, steps = archive[f"explanation/{key}"], archive[f"steps/{key}"]
                sizes = archive[f"curve/{key}"][0]
                assert found["sizes"] == pytest.approx(list(sizes), abs=1e-5)
                assert str(describe(archive[key], subject="photograph")) in found["words"]
                if found["measures"]["size"]:
                    assert found["words"].startswith(
                        f"{percent(explained.mean())} of the photograph alone keeps the answer"
                    )
                if found["measures"]["found"]:
                    (step,) = np.flatnonzero(np.isclose(sizes, found["measures"]["size"]))
                    assert np.array_equal(steps < step, explained)
                    assert np.mean(found["keptOn"]) == pytest.approx(found["measures"]["rho"])
        assert len(one["backgrounds"]) == 4

    def test_table_and_settings(self, report):
        text = (report / "report.html").read_text()
        for words in (
            "mean size",
            "Means over 2 photographs",
            "<dt>transform</dt>",
            "captum-ad compare",
            "of tiny_model",
        ):
            assert words in text
        assert "…" not in text

    def test_more_than_a_phone_can_open_are_left_out_and_that_is_said(self, report, monkeypatch):
        monkeypatch.setattr(page_module, "SHOWN", 1)
        page_module.write_page(report, json.loads((report / "summary.json").read_text()))
        assert len(data(report)) == 1
        assert "The first 1 photographs are shown here" in (report / "report.html").read_text()


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None or CHROMIUM is None:
        (pytest.fail if os.environ.get("BROWSER_REQUIRED") else pytest.skip)("needs playwright and Chromium")
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(report, browser, width, tmp_path):
    page = browser.new_page(viewport={"width": width, "height": 844})
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
    page.goto((report / "report.html").as_uri())
    page.wait_for_selector("body[data-ready='0']")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#maps canvas").count() == 4

    first = data(report)[0]["maps"][0]
    page.locator("#size").fill(str(len(first["sizes"]) - 1))
    assert f"confidence {first['confidences'][-1]:.2f}, the answer is kept" in page.locator("#caption").inner_text()
    whole = page.evaluate("[...at('alone').getContext('2d').getImageData(0, 0, 24, 24).data]")
    with np.load(report / "photo.npz") as archive:
        assert np.array_equal(np.array(whole).reshape(24, 24, 4)[..., :3], archive["photograph"])
        page.locator("#sufficient").click()
        kept = np.array(page.evaluate("[...at('alone').getContext('2d').getImageData(0, 0, 24, 24).data]"))
        mask = archive["explanation/occlusion/ad:paper"]
        assert np.array_equal(kept.reshape(24, 24, 4)[..., :3], np.where(mask[..., None], archive["photograph"], 232))
    assert page.locator("#planted canvas").count() == 4
    assert f"(ρ {first['measures']['rho']:.2f})" in page.locator("#planted-caption").inner_text()

    page.locator("#opacity").fill("70")
    mapped = np.array(page.evaluate("[...photo.maps[1].canvas.getContext('2d').getImageData(0, 0, 24, 24).data]"))
    heat = np.array(page.evaluate("[...photo.maps[1].heat]")).reshape(-1, 4)[:, :1] / 127 - 128 / 127
    alpha = 0.7 * np.sqrt(np.minimum(1, np.abs(heat)))
    gray = 64 + np.array(whole).reshape(-1, 4)[:, :3].sum(1, keepdims=True) / 4
    inked = (1 - alpha) * gray + alpha * np.where(heat > 0, (178, 24, 43), (33, 102, 172))
    assert np.abs(mapped.reshape(-1, 4)[:, :3] - inked).max() <= 0.51
    page.locator("#opacity").fill("0")
    bare = np.array(page.evaluate("[...photo.maps[1].canvas.getContext('2d').getImageData(0, 0, 24, 24).data]"))
    assert np.array_equal(bare, np.array(whole))
    page.locator("#maps button").nth(3).click()
    assert page.locator("#words").inner_text() == data(report)[0]["maps"][3]["words"]
    assert page.locator("#chosen").inner_text() == "Lime, baseline: zero"
    page.locator("#photograph").select_option("1")
    page.wait_for_selector("body[data-ready='1']")
    assert page.locator("#title").inner_text().startswith("Sequential on <b>&'")
    page.screenshot(path=os.environ.get("SCREENSHOTS", str(tmp_path)) + f"/report-{width}.png", full_page=True)
    assert not said


def test_the_colors_of_the_backgrounds_are_those_planted_on(report):
    with np.load(report / "photo.npz") as archive:
        colors = archive["backgrounds"]
    assert colors.shape == (4, 3)
    assert len({tuple(color) for color in colors}) == 4
    assert Image.fromarray(colors[None]).size == (4, 1)
