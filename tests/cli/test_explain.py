"""``captum-ad explain``: one photograph, one file."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ad.cli.models import load_classifier


@pytest.fixture
def explain(here, cli):
    def run(*argv, model="tiny_model:tiny", image="photo.png"):
        return cli("explain", image, "--model", model, "--segments", 6, "--samples", 12, *argv)

    return run


def test_one_picture(explain, here):
    before = {path.name for path in here.iterdir()}
    ran = explain()
    assert ran.code == 0, ran.err
    assert {path.name for path in here.iterdir()} - before - {"__pycache__"} == {"photo-explained.png"}
    with Image.open(here / "photo-explained.png") as picture:
        assert picture.width > picture.height > 200
    lines = ran.out.splitlines()
    assert lines[0].startswith("Sequential on photo: class ")
    assert lines[1].startswith("Most probable: class ")
    words = r"(\d+% of the photograph alone keeps the answer|The network gives the answer to nothing at all)"
    assert re.match(
        rf"Feature ablation, AD: no-growth-mean: {words}.* speaks for the answer .* of the photograph", lines[2]
    )
    assert lines[-1] == "photo-explained.png"
    assert "Transform: Compose(" in ran.out


@pytest.mark.parametrize("size", [(80, 60), (60, 80)])
def test_nothing_is_cut_off_at_the_picture_s_edges(explain, here, size):
    with Image.open(here / "photo.png") as photograph:
        photograph.resize(size).save(here / "photo.png")
    assert explain().code == 0
    with Image.open(here / "photo-explained.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert all((edge == 255).all() for edge in (pixels[:, :3], pixels[:, -3:], pixels[:3], pixels[-3:]))


@pytest.mark.parametrize("method", ["occlusion", "lime"])
@pytest.mark.parametrize("masking", ["ad:paper", "ad:growth=none,border=mean", "avg", "linear"])
def test_any_method_and_masking(explain, method, masking):
    assert explain("--method", method, "--masking", masking, "--out", "x.jpg").code == 0


def test_a_page(explain, here):
    assert explain("--out", "x.html").code == 0
    page = (here / "x.html").read_text()
    assert "<span>against the class</span><i></i><span>for the class</span>" in page
    assert "<title>Sequential on photo" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--out", "x.txt"), "expected a name that ends in .png"),
        (("--out", "."), "is a folder: name a file"),
        (("--method", "oclusion"), "did you mean 'occlusion'"),
        (("--masking", "ad:papr"), "did you mean 'paper'"),
        (("--masking", "zeros"), "did you mean 'zero'"),
        (("--gamma", "2"), "--gamma must be a share"),
        (("--methods", "lime"), "--methods lime: did you mean --method? (see captum-ad explain --help)"),
        (("--masing=zero", "--batchsize=2"), "did you mean --masking and --batch-size? (see captum-ad explain --help)"),
        (("photo.png",), "unrecognized arguments: photo.png (see captum-ad explain --help)"),
        (("--threads", "0"), "must be at least 1, got 0"),
        (("--threads", "many"), "invalid integer value: 'many'"),
        (("--classes", "nowhere.txt"), "cannot read --classes"),
        (("--target", "cat", "--classes", "names.txt"), "unknown class 'cat'"),
        (("--classes", "few.txt"), "names 2 classes, but the model has 5"),
    ],
)
def test_bad_arguments(explain, here, argv, message):
    (here / "names.txt").write_text("\n".join("ABCDE"))
    (here / "few.txt").write_text("A\nB\n")
    assert message in explain(*argv).error


def test_a_file_that_exists_is_replaced_by_force_alone(explain, here):
    (here / "photo-explained.png").write_text("mine")
    assert "exists" in explain().error
    assert (here / "photo-explained.png").read_text() == "mine"
    assert explain("--force").code == 0


@pytest.mark.parametrize("command", ["explain", "compare"])
def test_threads_are_passed_on_and_given_back(command, cli, here, monkeypatch):
    before, seen = torch.get_num_threads(), []
    run = torch.nn.Linear.forward
    monkeypatch.setattr(
        torch.nn.Linear, "forward", lambda self, x: seen.append(torch.get_num_threads()) or run(self, x)
    )
    quick = ("photo.png", "--model", "tiny_model:tiny", "--segments", 6, "--samples", 12)
    less = ("--methods", "occlusion", "--ad", "paper", "--baselines") if command == "compare" else ()
    assert cli(command, *quick, *less, "--threads", before + 1).code == 0
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert "broke midway" in cli(command, *quick, "--model", "tiny_model:breaks_first", "--force", "--threads", 1).err
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--model", "dmeo"), "did you mean 'demo'"),
        (("--model", "torchvision:resnet5"), "did you mean 'resnet50'"),
        (("--model", "torchvision:resnet18", "--target", "espreso"), "did you mean 'espresso'"),
        (("--model", "demo", "--target", "1000"), "--target 1000 is out of range"),
        (("--model", "demo", "--target", "Contrast('macow', 'jacamar')"), "did you mean 'macaw'"),
        (("--model", "nowhere.py:make"), "no file at 'nowhere.py'"),
        (("--weights", "nowhere.pth"), "no weights file at 'nowhere.pth'"),
        (("--classes", "nowhere.txt"), "cannot read --classes"),
        (("--classes", "names.txt", "--target", "cat"), "unknown class 'cat'"),
        (("--target", "Contrst(4, 1)"), "did you mean 'Contrast'"),
        (("--method", "oclusion"), "did you mean 'occlusion'"),
        (("--model", "tiny_model:raises", "--weights", "here.pth", "--target", "Contrast('a', 'b')"), "exists"),
        (("--model", "tiny_model:raises"), "exists"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_what_is_cheap_to_check_comes_before_the_file_and_loading_after(command, cli, here, argv, message):
    (here / "names.txt").write_text("\n".join("ABCDE"))
    (here / "here.pth").write_text("")
    (here / "photo-explained.png").write_text("mine")
    (here / "captum-ad-report").mkdir()
    (here / "captum-ad-report/mine.txt").write_text("mine")
    words = ["--methods" if command == "compare" and word == "--method" else word for word in argv]
    model = () if "--model" in argv else ("--model", "tiny_model:tiny")
    assert message in cli(command, "photo.png", *model, *words).error


def test_several_images_are_for_compare(explain, here):
    (here / "photos").mkdir()
    for name in "ab":
        Image.new("RGB", (30, 30)).save(here / f"photos/{name}.png")
    assert "use captum-ad compare" in explain(image="photos").error


def test_classes_by_name(explain, here):
    (here / "names.txt").write_text("ant\nbee\nCat\ndog\nant\n")
    ran = explain("--classes", "names.txt", "--target", "cat")
    assert ran.code == 0, ran.err
    assert "photo: Cat (2)" in ran.out
    assert "classes 0, 4 have this name" in explain("--classes", "names.txt", "--target", "ant", "--force").error


class TestModels:
    def test_a_file_and_its_function(self, explain, here):
        (here / "elsewhere").mkdir()
        (here / "elsewhere/torch.py").write_text("import helper\ndef make():\n    return helper.made()\n")
        (here / "elsewhere/helper.py").write_text("import tiny_model\ndef made():\n    return tiny_model.tiny()\n")
        ran = explain(model="elsewhere/torch.py:make")
        assert ran.code == 0, ran.err
        assert not [entry for entry in sys.path if entry.endswith("elsewhere")]
        assert sys.modules["torch"] is torch

    def test_a_model_that_is_there_already(self, explain, here):
        (here / "ready.py").write_text("import tiny_model\nmodel = tiny_model.network()\n")
        ran = explain(model="ready.py:model")
        assert ran.code == 0, ran.err
        assert "ImageNet's, assumed because ready.py:model returned only a model" in ran.out

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ("tiny_model.py", "Give tiny_model.py:FUNCTION"),
            ("nowhere.py:make", "no file at 'nowhere.py'"),
            ("tiny_model.py:tinny", "did you mean 'tiny'"),
            ("broken.py:make", "cannot import 'broken.py' for --model: SyntaxError"),
        ],
    )
    def test_what_is_not_there(self, explain, here, model, message):
        (here / "broken.py").write_text("def make(:\n")
        assert message in explain(model=model).error

    def test_the_transform_is_in_the_summary(self, compare, here):
        assert compare("--methods", "occlusion", "--ad", "paper", model="tiny_model:bare").code == 0
        summary = json.loads((here / "captum-ad-report/summary.json").read_text())
        assert "Normalize" in summary["transform"] or "normalize" in summary["transform"].lower()
        assert "assumed" in summary["transform"]

    def test_class_index(self, here, monkeypatch):
        monkeypatch.syspath_prepend(str(here))
        classifier = load_classifier("demo", None, torch.device("cpu"))
        assert classifier.class_index("espresso", 1000) == classifier.class_index("967", 1000) == 967


@pytest.mark.parametrize("device", ["mps", "cuda", "cuda:99", "gpu"])
def test_devices_that_are_not_there_take_one_short_line(explain, device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("has MPS")
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("has CUDA")
    line = explain("--device", device).error
    assert "Usable here: cpu" in line
    assert len(line) < 400


def test_the_package_is_the_command():
    ran = subprocess.run([sys.executable, "-m", "captum_ad", "--version"], capture_output=True, text=True)
    assert ran.stdout.startswith("captum-ad ")
    assert ran.returncode == 0


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("tiny", "Contrast(4, 1)"),
        ("tiny", "Group([3, 4])"),
        ("tiny", "MultiLabel(4, threshold=0.01)"),
        ("one_number", "Regression(tolerance=1)"),
        ("one_number", "Binary(threshold=0.001)"),
        ("maps", "Region(1)"),
    ],
)
def test_questions_that_are_no_class(explain, here, model, target):
    ran = explain("--target", target, "--out", "x.html", model=f"tiny_model:{model}")
    assert ran.code == 0, ran.err
    assert re.match(rf"\w+ on photo: {target.split('(')[0]}\(.*, (confidence|value) ", ran.out)
    assert re.search(r"% of the photograph alone keeps|no part of the photograph|so no part explains", ran.out)
    assert "Most probable" not in ran.out
    assert "<span>against the target</span><i></i><span>for the target</span>" in (here / "x.html").read_text()
    ran = explain("--target", target, "--out", "x.png", model=f"tiny_model:{model}")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("Contrast(4, 1", "is not a target as Python writes it"),
        ("Contrst(4, 1)", "did you mean 'Contrast'"),
        ("Contrast(4, 99)", "target 99 is out of range"),
        ("Contrast('dog', 'cat')", "names="),
        ("Reconstruction()", "threshold="),
        ("Region(1)", "expected class maps"),
        ("exec('1')", "unknown target 'exec'"),
    ],
)
def test_questions_that_cannot_be_asked(explain, here, target, says):
    ran = explain("--target", target, "--out", "x.png")
    assert ran.code == 2
    assert says in ran.err
    assert not (here / "x.png").exists()


def test_a_network_of_one_number_is_asked_what_is_meant(explain):
    ran = explain(model="tiny_model:one_number")
    assert ran.code == 2
    assert "--target 'Binary()' for one logit" in ran.err


def test_the_photograph_itself_is_not_replaced(explain, here):
    before = (here / "photo.png").read_bytes()
    ran = explain("--out", "photo.png", "--force")
    assert ran.code == 2
    assert "is the photograph itself" in ran.err
    assert (here / "photo.png").read_bytes() == before


def test_an_answer_that_the_network_does_not_give_is_said(explain):
    given = explain("--target", "Contrast(4, 1)", "--out", "a.png")
    other = explain("--target", "Contrast(1, 4)", "--out", "b.png")
    assert "not the network's answer" not in given.out
    assert "not the network's answer to the whole photograph" in other.out


def test_a_question_is_shown_with_the_names_that_were_given(explain, here):
    (here / "names.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    ran = explain("--target", " Contrast('elk','bee' )", "--classes", "names.txt", "--out", "x.html")
    assert re.match(r"Sequential on photo: Contrast\('elk', 'bee'\), confidence \d\.\d\d\n", ran.out), ran
    assert "<title>Sequential on photo: Contrast(&#39;elk&#39;, &#39;bee&#39;)" in (here / "x.html").read_text()


def test_names_are_counted_for_other_questions_too(explain, here):
    (here / "names.txt").write_text("a\nb\n")
    ran = explain("--target", "Contrast('a', 'b')", "--classes", "names.txt", "--out", "a.png")
    assert ran.code == 2
    assert "names 2 classes, but the model has 5" in ran.err
