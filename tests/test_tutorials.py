"""The pictures of tutorials/ can be made, and the page that shows them shows all of them."""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("torchvision")
TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"


@pytest.fixture(scope="module")
def knobs():
    spec = importlib.util.spec_from_file_location("knobs", TUTORIALS / "knobs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_made_and_small(knobs, tmp_path):
    knobs.main(tmp_path / "knobs")
    made = {path.stem: path.stat().st_size for path in (tmp_path / "knobs").iterdir()}
    assert set(made) == set(knobs.PICTURES)
    assert all(1_000 < size < 60_000 for size in made.values())


def test_the_page_shows_them_all(knobs):
    shown = re.findall(r"!\[[^\]]+\]\((knobs/[a-z]+\.png)\)", (TUTORIALS / "knobs.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(f"knobs/{name}.png" for name in knobs.PICTURES)
    assert all((TUTORIALS / path).is_file() for path in shown)


@pytest.mark.parametrize("name", ["growth", "sum", "tau", "average", "border", "depth"])
def test_nothing_overlaps(knobs, name):
    figure = knobs.PICTURES[name]()
    figure.draw_without_rendering()
    titles = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
    for i, title in enumerate(titles):
        assert title.y1 <= figure.bbox.y1
        assert not any(title.overlaps(other) for other in titles[:i])


def test_they_show_what_the_page_says(knobs):
    full = knobs._resnet_trace(knobs.MaskRule())
    assert full.full_at.place.startswith("layer3")
    both = knobs._resnet_trace(knobs.MaskRule(sum="intersection"))
    assert both.at("layer4").share < 0.25 < both.at("layer4.0.conv2").share
    assert knobs._resnet_trace(knobs.MaskRule(), 0.6).at("layer3").share == 0
