"""``captum-ad compare``: what it computes and writes."""

import json

import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from PIL import Image

from captum_ad import ADForward
from captum_ad._forwards.baseline_forward import NAMED, masked_forward
from captum_ad._methods import METHODS, Task, explain, seeded
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.baselines import baseline
from captum_ad.cli.models import load_classifier
from captum_ad.metrics import SolidColors, rho_curve, rho_robustness, sufficient_explanation
from captum_ad.segmentation import superpixels
from tests.cli.reports import archive, entries, explanations

DEFAULT = ["occlusion", "feature_ablation", "kernel_shap", "lime"]
COLUMNS = ["ad:no-growth-mean", "ad:paper", "zero", "min", "max", "avg"]


def test_default_columns_give_a_figure_an_archive_and_a_summary(compare, here):
    ran = compare()
    assert ran.code == 0, ran.err
    report = here / "captum-ad-report"
    assert sorted(p.name for p in report.iterdir()) == ["photo.npz", "photo.png", "report.html", "summary.json"]
    assert not [p for p in here.iterdir() if p.name.startswith(".captum-ad")]

    arrays = archive(report / "photo.npz")
    assert set(arrays) == {f"{m}/{c}" for m in DEFAULT for c in COLUMNS} | {"superpixels", "target"}
    for name, array in arrays.items():
        if "/" in name:
            assert array.shape == (3, 24, 24), name
            assert np.isfinite(array).all(), name
            assert array.any(), name
    labels = arrays["superpixels"]
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))

    with Image.open(report / "photo.png") as figure:
        assert figure.width > figure.height > 500
        colors = np.asarray(figure.convert("RGB")).astype(int)
    assert np.abs(colors - colors.mean(2, keepdims=True)).max() > 50  # there is a heat map on it

    summary = json.loads((report / "summary.json").read_text())
    assert summary["model"] == "tiny_model:tiny"
    assert summary["transform"].endswith("(of tiny_model:tiny)")
    assert summary["command"][:3] == ["captum-ad", "compare", "photo.png"]
    assert set(summary["versions"]) == {"captum_ad", "captum", "torch", "python"}
    assert (summary["seed"], summary["samples"], summary["segments"], summary["batch_size"]) == (0, 12, 6, 4)
    assert summary["threads"] == torch.get_num_threads()
    (entry,) = summary["images"]
    assert entry["file"] == "photo.png"
    assert entry["size"] == [80, 60]
    assert (
        entry["target"] == entry["predicted"] == {"index": int(arrays["target"]), "name": f"class {arrays['target']}"}
    )
    assert 0.2 <= entry["confidence"] <= 1
    for method in DEFAULT:
        assert list(entry["methods"][method]) == COLUMNS
        assert all(cost["seconds"] >= 0 for cost in entry["methods"][method].values())
        assert len({cost["forwards"] for cost in entry["methods"][method].values()}) == 1
    assert {c["forwards"] for c in entry["methods"]["lime"].values()} == {12}
    assert {c["forwards"] for c in entry["methods"]["feature_ablation"].values()} == {entry["superpixels"] + 1}


def test_the_terminal_gets_a_table_and_a_progress_bar(compare):
    ran = compare("--methods", "occlusion", "lime", "--baselines", "zero")
    lines = ran.out.splitlines()
    assert lines[0].startswith("Sequential on photo: class ")
    assert lines[2].split() == [
        "method",
        "masking",
        "size",
        "confidence",
        "ρ",
        "ρ",
        "at",
        "size",
        "0.3",
        "seconds",
        "left",
        "out",
    ]
    rows = [line.split() for line in lines[3:9]]
    assert [row[:2] for row in rows] == [
        [m, c] for m in ("occlusion", "lime") for c in ("ad:no-growth-mean", "ad:paper", "zero")
    ]
    assert "6/6" in ran.err

    (entry,) = entries("captum-ad-report")
    for method, column, size, confidence, rho, at_equal_size, *_ in rows:
        measured = entry["methods"][method][column]["explanation"]
        assert measured["found"]
        if measured["empty"]:
            assert (size, confidence, rho) == ("–", "–", "–")
            continue
        names = ("size", "confidence", "rho", "rho_at_equal_size")
        assert [f"{measured[name]:.2f}" for name in names] == [size, confidence, rho, at_equal_size]


@pytest.mark.filterwarnings("error::captum_ad._common.errors.EmptyExplanationWarning")  # the table shows them
def test_every_named_baseline_is_a_column(compare):
    names = [name for name in NAMED if name != "inpaint"]  # needs OpenCV
    assert compare("--methods", "occlusion", "--ad", "--baselines", *names, "--out", "out").code == 0
    assert set(archive("out/photo.npz")) == {f"occlusion/{name}" for name in names} | {"superpixels", "target"}


@pytest.mark.parametrize("method", ["occlusion", "lime"])
@pytest.mark.parametrize("column", ["ad:no-growth", "avg"])
def test_explanations_are_what_the_metrics_give(compare, method, column):
    given = ("--gamma", 0.6, "--backgrounds", 9, "--seed", 3)
    assert compare("--methods", method, "--ad", "no-growth", "--baselines", "avg", "--out", "out", *given).code == 0
    attribution = torch.from_numpy(archive("out/photo.npz")[f"{method}/{column}"])
    labels = torch.from_numpy(archive("out/photo.npz")["superpixels"])
    mask = torch.from_numpy(explanations("out/photo.npz")[f"{method}/{column}"])
    (entry,) = entries("out")
    measured, target = entry["methods"][method][column]["explanation"], entry["target"]["index"]

    classifier = load_classifier("tiny_model:tiny", None, torch.device("cpu"))
    x = classifier.prepare(Image.open("photo.png"))
    units = {"step": 15} if method == "occlusion" else {"feature_mask": labels}  # 24 × 24 positions in 40 steps
    forward = masked_forward(classifier.model, column)
    found = sufficient_explanation(forward, x, attribution, target, 0.6, **units)
    assert torch.equal(found.mask, mask)
    assert measured["size"] == pytest.approx(float(mask.double().mean()))
    assert measured["confidence"] == pytest.approx(found.confidence, abs=1e-6)
    colors = SolidColors(9, 3, *classifier.normalization(3))
    assert measured["rho"] == pytest.approx(rho_robustness(classifier.model, x, mask, target, colors).rho)
    best = rho_curve(classifier.model, x, attribution, target, colors, [0.3])
    assert measured["rho_at_equal_size"] == pytest.approx(best.at(0.3))


def test_attributions_are_what_captum_gives(compare):
    assert compare("--ad", "no-growth-mean", "--baselines", "blur", "--out", "out", "--seed", 7).code == 0
    found = archive("out/photo.npz")

    classifier = load_classifier("tiny_model:tiny", None, torch.device("cpu"))
    x = classifier.prepare(Image.open("photo.png"))
    labels = superpixels(classifier.displayed(x), n_segments=6)
    assert np.array_equal(found["superpixels"], labels[0, 0].numpy())
    target = int(classifier.model(x).argmax())
    shared = {"target": target, "perturbations_per_eval": 4}
    ridge = SkLearnRidge(alpha=1.0)
    for column, forward, painted in [
        ("ad:no-growth-mean", ADForward(classifier.model, "no-growth-mean"), {}),
        ("blur", classifier.model, {"baselines": baseline("blur", x)}),
    ]:
        expected = {
            "occlusion": lambda f, p: Occlusion(f).attribute(
                x, sliding_window_shapes=(3, 24, 24), strides=(3, 12, 12), **shared, **p
            ),
            "feature_ablation": lambda f, p: FeatureAblation(f).attribute(x, feature_mask=labels, **shared, **p),
            "kernel_shap": lambda f, p: KernelShap(f).attribute(x, feature_mask=labels, n_samples=12, **shared, **p),
            "lime": lambda f, p: Lime(f, ridge).attribute(x, feature_mask=labels, n_samples=12, **shared, **p),
        }
        for method, run in expected.items():
            with torch.no_grad(), seeded(7, x.device):
                attribution = run(forward, painted)[0].numpy()
            np.testing.assert_array_equal(found[f"{method}/{column}"], attribution, err_msg=f"{method}/{column}")


def test_ad_columns_are_not_the_baseline_zero(here, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    classifier = load_classifier("tiny_model:tiny", None, torch.device("cpu"))
    x = classifier.prepare(Image.open("photo.png"))
    task = Task(x, 0, superpixels(classifier.displayed(x), n_segments=6), 12, 4, 0)
    ad, zero = (explain(classifier.model, "feature_ablation", c, task).attribution for c in ("ad:paper", "zero"))
    assert not torch.allclose(ad, zero)


def test_the_same_seed_gives_the_same_attributions_and_another_does_not(compare):
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert compare("--out", out, "--seed", seed, "--ad", "paper", "--baselines", "zero").code == 0
    a, b, c = (archive(f"{out}/photo.npz") for out in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["lime/zero"], c["lime/zero"])
    assert np.array_equal(a["occlusion/zero"], c["occlusion/zero"])


def test_global_random_state_and_the_model_are_left_alone(here, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    classifier = load_classifier("tiny_model:tiny", None, torch.device("cpu"))
    x = classifier.prepare(Image.open("photo.png"))
    task = Task(x, 0, superpixels(classifier.displayed(x), n_segments=6), 12, 4, 0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for method in METHODS:
        for column in ("ad:paper", "max"):
            explain(classifier.model, method, column, task)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert not classifier.model._forward_pre_hooks
    assert not classifier.model.training


def test_the_surrogate_of_lime_keeps_small_outputs(compare):
    """Captum's own, a Lasso with alpha 0.01, gives zero everywhere on probabilities this close together."""
    assert compare("--methods", "lime", "--out", "out", model="tiny_model:softmax").code == 0
    assert all(array.any() for name, array in archive("out/photo.npz").items() if "/" in name)


def test_a_target_may_be_another_class(compare):
    ran = compare("--target", 1, "--out", "out", "--methods", "feature_ablation", "--ad", "--baselines", "avg")
    assert ran.code == 0, ran.err
    (entry,) = entries("out")
    assert entry["target"]["index"] == 1
    assert entry["predicted"]["index"] != 1
    assert "predicted class" in ran.out
    assert "1 of 1" in ran.out
    assert not any(mask.any() for mask in explanations("out/photo.npz").values())
    assert entry["methods"]["feature_ablation"]["avg"]["explanation"]["rho"] is None
    assert set(archive("out/photo.npz")) == {"feature_ablation/avg", "superpixels", "target"}


def test_probabilities_are_not_softened_twice(compare):
    quick = ("--methods", "feature_ablation", "--ad", "--baselines", "zero")
    assert compare("--out", "a", *quick).code == compare("--out", "b", *quick, model="tiny_model:softmax").code == 0
    a, b = (entries(out)[0]["confidence"] for out in "ab")
    assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize("column", ["ad:no-growth", "avg"])
def test_methods_that_search_are_the_attributors(compare, column):
    given = ("--methods", "responsibility", "rise", "--ad", "no-growth", "--baselines", "avg", "--samples", 20)
    assert compare(*given, "--out", "out").code == 0
    (entry,) = entries("out")
    found, target = archive("out/photo.npz"), entry["target"]["index"]

    classifier = load_classifier("tiny_model:tiny", None, torch.device("cpu"))
    x, model = classifier.prepare(Image.open("photo.png")), classifier.model
    confident = torch.nn.Sequential(model, torch.nn.Softmax(1)).eval()
    painted = {} if column.startswith("ad:") else {"baselines": baseline(column, x)}
    plain, ending = (masked_forward(m, column) if column.startswith("ad:") else m for m in (model, confident))
    searched = CausalResponsibility(plain).attribute(
        x, target=target, max_forwards=80, min_region=64, perturbations_per_eval=4, **painted
    )
    np.testing.assert_array_equal(found[f"responsibility/{column}"], searched[0])
    risen = Rise(ending).attribute(x, target=target, n_samples=80, perturbations_per_eval=4, **painted)
    np.testing.assert_allclose(found[f"rise/{column}"], risen[0], rtol=1e-5)
    assert risen.std() > 0
    assert entry["methods"]["rise"][column]["forwards"] == 80


def test_names_given_twice_count_once(compare):
    assert compare("--out", "out", "--methods", "lime", "lime", "--ad", "--baselines", "zero", "zero").code == 0
    assert set(archive("out/photo.npz")) == {"lime/zero", "superpixels", "target"}


@pytest.mark.slow
def test_the_demo_end_to_end(cli, tmp_path):
    ran = cli("compare", "--methods", "occlusion", "--backgrounds", 10, "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    (entry,) = entries(tmp_path / "out")
    assert entry["target"] == {"index": 967, "name": "espresso"}
    assert entry["confidence"] > 0.9
    arrays = archive(tmp_path / "out/coffee.npz")
    for name, array in arrays.items():
        if "/" in name:
            assert array.shape == (3, 224, 224), name
            assert np.isfinite(array).all(), name
            assert array.any(), name
    # Whatever hides it, the coffee in the cup matters more than anything around it.
    for column in COLUMNS:
        row, left = np.unravel_index(arrays[f"occlusion/{column}"].sum(0).argmax(), (224, 224))
        assert 40 <= row < 140, column
        assert 60 <= left < 190, column


def test_an_empty_explanation_is_flagged_in_the_table_and_the_summary_and_in_no_mean(compare):
    given = ("--methods", "occlusion", "--ad", "paper", "--baselines", "zero", "--gamma", "0")
    ran = compare(*given, model="tiny_model:biased")
    found = entries("captum-ad-report")[0]["methods"]["occlusion"]
    assert {one["explanation"]["empty"] for one in found.values()} == {True}
    line = next(line for line in ran.out.splitlines() if line.startswith("occlusion"))
    assert "1 of 1 empty" in line
    assert line.split()[2:5] == ["–", "–", "–"]
    assert "empty: the model gives the class even if nothing is shown" in ran.out


def test_compiled_maps_are_the_same(compare, here, monkeypatch):
    made = []

    def as_it_is(module, **options):
        made.append(module)
        return module

    quick = ("--methods", "occlusion", "feature_ablation", "--ad", "no-growth", "--baselines")
    assert compare("--out", "plain", *quick).code == 0
    monkeypatch.setattr(torch, "compile", as_it_is)
    assert compare("--out", "compiled", *quick, "--compile").code == 0
    assert 2 <= len(made) <= 8  # the model, and a program for each of few sizes of the batch
    one, other = (archive(here / folder / "photo.npz") for folder in ("plain", "compiled"))
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
