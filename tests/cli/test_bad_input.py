"""Bad input: one clear line, exit code 2, nothing written; and what --force may touch."""

import io
import json
import os
import sys
import urllib.error

import pytest
import torch
import torchvision
from PIL import Image

from captum_ad.cli.folder import occupied_alone


@pytest.fixture
def refused(compare, here):
    """Run, expect a one-line error, and no new file anywhere; returns the line."""

    def run(*argv, **given):
        before = sorted(here.rglob("*"))
        ran = compare(*argv, **given)
        left = [p for p in sorted(here.rglob("*")) if p not in before and "__pycache__" not in str(p)]
        assert not left
        return ran.error

    return run


def test_missing_image(refused):
    assert "'nowhere.png'" in refused(images=("nowhere.png",))
    assert "chelsea" in refused(images=("chelse",))


def test_folders_and_patterns_without_images(refused, here):
    (here / "folder").mkdir()
    assert "the folder 'folder' has no image" in refused(images=("folder",))
    (here / "folder/inner").mkdir()
    assert "'folder/**/*.*'" in refused(images=("folder",))
    assert "no image matches '*.jpg'" in refused(images=("*.jpg",))


def test_file_that_is_no_image(refused, here):
    (here / "notes.png").write_text("not a picture")
    (here / "empty.jpg").write_bytes(b"")
    assert "is not an image" in refused(images=("notes.png",))
    assert "is not an image" in refused(images=("empty.jpg",))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_truncated_image(refused, here, kind, share):
    buffer = io.BytesIO()
    Image.open("photo.png").save(buffer, kind)
    (here / "cut.img").write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    assert "'cut.img'" in refused(images=("photo.png", "cut.img"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--methods", "oclusion"), "unknown method 'oclusion': did you mean 'occlusion'"),
        (("--baselines", "mean"), "unknown baseline 'mean'"),
        (("--baselines", "zeros"), "did you mean 'zero'"),
        (("--ad", "papr"), "unknown rule 'papr': did you mean 'paper'"),
        (("--ad", "--baselines"), "nothing to compare"),
        (("--target", "5"), "--target 5 is out of range: the model has classes 0 to 4"),
        (("--target", "-1"), "--target -1 is out of range"),
        (("--target", "cat"), "--target 'cat': the names of the classes are not known"),
        (("--samples", "1"), "must be at least 2"),
        (("--segments", "0"), "must be at least 2"),
        (("--batch-size", "0"), "must be at least 1"),
        (("--seed", "-3"), "must be at least 0"),
        (("--seed", "1e3"), "invalid integer value"),
        (("--device", "gpu"), "--device 'gpu' cannot be used"),
        (("--device", "meta"), "--device 'meta' cannot be used"),
        (("--device", "cuda:99"), "--device 'cuda:99' cannot be used"),
        (("--threads", "0"), "must be at least 1"),
        (("--frobnicate",), "unrecognized arguments: --frobnicate (see captum-ad compare --help)"),
        (("--method", "lime", "--maskings=zero"), "unrecognized arguments: --maskings=zero (see"),
        (("--weights", "nowhere.pth"), "no weights file at 'nowhere.pth'"),
    ],
)
def test_arguments(refused, argv, message):
    assert message in refused(*argv)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_cuda_where_there_is_none(refused):
    assert "--device 'cuda' cannot be used" in refused("--device", "cuda")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet50", "'torchvision:resnet50'"),
        ("dmeo", "'demo'"),
        ("torchvision:resnet5", "'resnet50'"),
        ("torchvision:", "unknown model"),
        ("timm:resnet50", "pip install timm"),
        ("no_such_module:model", "cannot import 'no_such_module'"),
        ("tiny_model:tinny", "did you mean 'tiny'"),
        ("tiny_model:constant", "cannot be called"),
        ("tiny_model:no_model", "returned int, expected a torch.nn.Module"),
        ("tiny_model:raises", "OSError: no such thing"),
        ("tiny_model:no_tensor", "returned Image, expected a float tensor"),
        ("tiny_model:returns_maps", "returned shape (1, 5, 3, 3)"),
        ("tiny_model:returns_dict", "returned dict"),
        ("tiny_model:returns_nan", "NaN or Inf"),
        ("tiny_model:breaks_first", "broke midway"),
        ("tiny_model:unsupported", "renorm"),
        ("tiny_model:out_of_memory", "--batch-size"),
    ],
)
def test_models(refused, model, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    assert message in refused(model=model)


def test_command_is_required(cli):
    assert "COMMAND" in cli().error
    assert "invalid choice" in cli("compair").error


def test_help_and_version_end_well(cli):
    assert "compare" in cli("--help").out
    helped = cli("compare", "--help")
    assert helped.code == 0
    for word in ("--weights", "no-growth-mean", "blur", "kernel_shap"):
        assert word in helped.out
    assert cli("--version").out.startswith("captum-ad ")


def test_no_network_names_the_way_out(refused, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    line = refused(model="torchvision:squeezenet1_1")
    assert "--weights FILE" in line
    assert "squeezenet1_1-" in line


def test_missing_packages_are_named(refused, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "skimage" else find(name, *a))
    assert 'needs scikit-image: pip install scikit-image (or pip install ".[demo]"' in refused()


def test_occupied_out_is_refused_before_anything_runs(compare, here):
    (here / "out").mkdir()
    (here / "out/mine.txt").write_text("keep")
    line = compare("--out", "out", model="tiny_model:raises").error
    assert "not empty" in line
    assert "--force" in line
    assert [p.name for p in (here / "out").iterdir()] == ["mine.txt"]


def test_force_replaces_our_files_and_leaves_others(compare, here):
    quick = ("--methods", "occlusion", "--ad", "paper", "--baselines", "--out", "out")
    assert compare(*quick).code == 0
    (here / "out/mine.txt").write_text("keep")
    (here / "out/photo.npz").write_text("old")
    assert compare(*quick, "--force").code == 0
    assert sorted(p.name for p in (here / "out").iterdir()) == [
        *("mine.txt", "photo.npz", "photo.png", "report.html", "summary.json")
    ]
    assert (here / "out/mine.txt").read_text() == "keep"
    assert (here / "out/photo.npz").read_bytes()[:2] == b"PK"


QUICK = ("--methods", "occlusion", "--ad", "paper", "--baselines")


@pytest.mark.parametrize("how", ["--force", "--resume"])
def test_photographs_are_never_replaced(compare, here, how):
    (here / "own").mkdir()
    Image.open(here / "photo.png").save(here / "own/photo.png")
    before = (here / "own/photo.png").read_bytes()
    ran = compare(*QUICK, "--out", "own", how, images=("own",))
    assert ran.code == 2
    assert "is one of the photographs" in ran.err
    (here / "other").mkdir()
    (here / "other/photo.png").write_bytes(before)  # a picture of the user's own that is not explained
    ran = compare(*QUICK, "--out", "other", how)
    assert ran.code == 2
    assert "is not a file of an earlier report" in ran.err
    assert (here / "own/photo.png").read_bytes() == (here / "other/photo.png").read_bytes() == before
    assert len(list((here / "own").iterdir())) == len(list((here / "other").iterdir())) == 1


def test_two_runs_do_not_write_into_one_folder(compare, here):
    with occupied_alone(here / "out"):
        ran = compare(*QUICK, "--out", "out", "--force")
    assert ran.code == 2
    assert "another run is writing to 'out'" in ran.err
    assert not (here / "out").exists()


def test_what_a_killed_run_left_is_cleared_away(compare, here):
    (here / "out/.captum-ad-staging-x").mkdir(parents=True)
    assert compare(*QUICK, "--out", "out", "--force").code == 0
    assert sorted(one.name for one in (here / "out").iterdir()) == [
        "photo.npz",
        "photo.png",
        "report.html",
        "summary.json",
    ]


def test_a_file_name_that_is_no_utf8(compare, here):
    name = os.fsdecode(b"\xff\xfe.png")
    Image.open(here / "photo.png").save(here / name)
    ran = compare(*QUICK, "--out", "out", images=(name, "photo.png"))
    assert ran.code == 0, ran.err
    assert json.loads((here / "out/summary.json").read_text())["images"][0]["file"] == "_ff_fe.png"


def test_an_empty_out_and_a_nested_new_one_are_fine(compare, here):
    quick = ("--methods", "occlusion", "--ad", "paper", "--baselines")
    (here / "empty").mkdir()
    assert compare(*quick, "--out", "empty").code == 0
    assert compare(*quick, "--out", "a/b/c").code == 0
    assert len(list((here / "empty").iterdir())) == len(list((here / "a/b/c").iterdir())) == 4


def test_unwritable_out_is_refused_before_anything_runs(refused, here):
    (here / "file").write_text("")
    assert "is a file" in refused("--out", "file", model="tiny_model:raises")
    assert "is not a directory" in refused("--out", "file/out", model="tiny_model:raises")
    (here / "out/photo.png").mkdir(parents=True)
    assert "is a directory, but the report" in refused("--out", "out", "--force", model="tiny_model:raises")


def test_out_without_permission(refused, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    assert "cannot write --out 'captum-ad-report': Permission denied" in refused(model="tiny_model:raises")


def test_an_exception_midway_leaves_nothing(compare, here):
    before = {p for p in here.iterdir() if p.name != "__pycache__"}
    ran = compare("--out", "a/out", model="tiny_model:breaks_midway")
    assert ran.code == 2
    assert "broke midway" in ran.err
    assert {p for p in here.iterdir() if p.name != "__pycache__"} == before


def test_an_exception_midway_leaves_an_earlier_report_as_it_was(compare, here):
    assert compare("--methods", "occlusion", "--out", "out").code == 0
    before = {p.name: p.read_bytes() for p in (here / "out").iterdir()}
    ran = compare("--out", "out", "--force", model="tiny_model:breaks_midway")
    assert ran.code == 2
    assert "broke midway" in ran.err
    assert {p.name: p.read_bytes() for p in (here / "out").iterdir()} == before


def test_ctrl_c_exits_with_130_and_leaves_nothing(compare, here):
    ran = compare("--out", "out", model="tiny_model:interrupted")
    assert ran.code == 130
    assert ran.err.rstrip().endswith("captum-ad: interrupted, nothing was written")
    assert "Traceback" not in ran.err
    assert not (here / "out").exists()
