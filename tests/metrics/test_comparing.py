"""Whole comparisons: the records of the single functions, and what may be compared."""

import math
import os

import numpy as np
import pandas as pd
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import nn

from captum_ad import ADForward, BaselineForward, MaskRule, _methods
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.baselines import BASELINES, baseline
from captum_ad.metrics import OtherClassImages, SolidColors, compare, rho_curve, rho_robustness, sufficient_explanation
from captum_ad.segmentation import superpixels
from tests.metrics.models import answer, noise, small_net, untouched
from tests.metrics.study import DATASET, GAMMAS, IMAGES, K1, METHODS, MODEL, SIZES, assert_same, first_channel, run

COLUMNS = (
    "image method masking target gamma backgrounds found size confidence rho confidence_planted n_backgrounds".split()
)
COLUMNS += ["seconds"]
NAN = float("nan")


class TestRecords:
    @pytest.mark.parametrize("method", ["occlusion", "feature_ablation", "lime", "kernel_shap", "own"])
    def test_are_what_the_single_functions_give(self, method):
        backgrounds = {"K1": K1, "K2": OtherClassImages(DATASET, 5)}
        maskings = ("ad:paper", "zero", "avg", "blur", "inpaint")
        own = {"own": first_channel} if method == "own" else [method]
        records = run(methods=own, maskings=maskings, backgrounds=backgrounds, seed=3)
        expected = []
        for image, x in IMAGES.items():
            target = answer(MODEL, x)
            for masking in maskings:
                forward = masked_forward(MODEL, masking)
                named = masking in BASELINES  # Captum can take these itself; Lime's kernel then compares images
                options = {"target": target} | ({"baselines": baseline(masking, x)} if named else {})
                labels, explained = {"feature_mask": superpixels(x[0], n_segments=6)}, MODEL if named else forward
                torch.manual_seed(3)
                if method == "own":
                    attribution = first_channel(forward, x, target)
                elif method == "occlusion":
                    windows = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)}
                    attribution = Occlusion(explained).attribute(x, **options, **windows)
                elif method == "feature_ablation":
                    attribution = FeatureAblation(explained).attribute(x, **options, **labels)
                elif method == "kernel_shap":
                    attribution = KernelShap(explained).attribute(x, n_samples=12, **options, **labels)
                else:
                    lime = Lime(explained, interpretable_model=SkLearnRidge(alpha=1.0))
                    attribution = lime.attribute(x, n_samples=12, **options, **labels)
                found = sufficient_explanation(forward, x, attribution, target, GAMMAS, step=6)
                for name, drawn in backgrounds.items():
                    fixed = {
                        "image": image,
                        "method": method,
                        "masking": masking,
                        "target": target,
                        "backgrounds": name,
                    }
                    for one in found:
                        planted = rho_robustness(MODEL, x, one, target, drawn)
                        row = {"gamma": one.gamma, "size": one.size, "confidence": one.confidence}
                        row |= {"rho": planted.rho, "confidence_planted": planted.confidence}
                        expected.append({**fixed, **row, "n_backgrounds": planted.n, "found": one.found})
                    curve = rho_curve(MODEL, x, attribution, target, drawn, SIZES)
                    for i, size in enumerate(SIZES):
                        row = {"gamma": NAN, "size": size, "confidence": NAN, "rho": float(curve.values[i])}
                        row |= {"confidence_planted": float(curve.confidences[i]), "n_backgrounds": curve.n}
                        expected.append({**fixed, **row, "found": True})
        names = [name for name in COLUMNS if name != "seconds"]
        pd.testing.assert_frame_equal(records[names], pd.DataFrame(expected)[names], rtol=1e-9, atol=1e-9)

    def test_have_these_columns_and_a_row_for_each_cell_context_and_level_in_order(self):
        records = run(backgrounds={"K2": OtherClassImages(DATASET, 5), "K1": K1})
        assert list(records.columns) == COLUMNS
        keys = list(zip(*(records[name] for name in ("image", "method", "masking", "backgrounds", "gamma", "size"))))
        expected = [
            (image, method, masking, name, level)
            for image in IMAGES
            for method in METHODS
            for masking in ("ad:no-growth", "avg")
            for name in ("K2", "K1")
            for level in (*GAMMAS, *SIZES)
        ]
        assert [(*key[:4], key[5] if math.isnan(key[4]) else key[4]) for key in keys] == expected
        assert records.index.tolist() == list(range(len(expected)))

    def test_have_plain_types_and_values_in_range(self, full):
        assert full["found"].dtype == bool
        assert full["target"].dtype == full["n_backgrounds"].dtype == np.int64
        for name in ("size", "confidence", "rho", "confidence_planted", "seconds", "gamma"):
            assert full[name].dtype == np.float64, name
        assert full[["size", "rho", "confidence_planted"]].stack().between(0, 1).all()
        assert (full["seconds"] > 0).all()
        assert (full["n_backgrounds"] == 6).all()
        levels = full["gamma"].notna()
        assert full.loc[levels, "confidence"].notna().all()
        assert full.loc[~levels, "confidence"].isna().all()
        assert full.groupby("image")["target"].unique().map(list).to_dict() == {
            image: [answer(MODEL, x)] for image, x in IMAGES.items()
        }

    def test_are_the_same_for_the_same_seed_and_any_batch_size(self):
        methods = ["lime", "occlusion"]
        first = run(methods=methods, seed=4)
        assert_same(run(methods=methods, seed=4), first)
        other_batches = run(methods=methods, seed=4, batch_size=7)
        numbers = ["size", "confidence", "rho", "confidence_planted"]
        pd.testing.assert_frame_equal(other_batches[numbers], first[numbers], rtol=1e-6)
        other_seed = run(methods=methods, seed=5)
        lime = first["method"] == "lime"
        assert not other_seed.loc[lime, numbers].equals(first.loc[lime, numbers])
        assert other_seed.loc[~lime, numbers].equals(first.loc[~lime, numbers])

    @pytest.mark.parametrize("before", [0, 1])
    def test_of_methods_of_ones_own_are_of_the_seed_too(self, before):
        """Whatever was drawn before: a run that is taken up draws the same as one that was not interrupted."""

        def random(forward, x, target):
            return torch.rand(8, 8)

        torch.manual_seed(before)
        first = run(methods={"random": random}, seed=4)
        assert_same(run(methods={"random": random}, seed=4), first)

    def test_do_not_touch_the_model_the_images_or_the_generators(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        with untouched(MODEL, *IMAGES.values()):
            run(methods=["lime", "occlusion"])
        assert torch.equal(torch.get_rng_state(), before)

    def test_draw_backgrounds_once_for_each_image(self):
        drawn = []

        class Noted:
            def draw(self, model, x, target, *, batch_size=None):
                drawn.append((target, batch_size))
                return K1.draw(model, x, target)

        run(backgrounds={"noted": Noted()}, batch_size=3)
        assert drawn == [(answer(MODEL, x), 3) for x in IMAGES.values()]

    def test_without_equal_sizes_have_only_thresholds(self):
        assert run(sizes=())["gamma"].notna().all()


class TestArguments:
    def test_images_by_name_or_number_with_or_without_a_batch_dimension(self, full):
        stacked = torch.cat(list(IMAGES.values()))
        numbered = full.assign(image=full["image"].map({"cat": "0", "dog": "1"}))
        assert_same(run(stacked), numbered)
        assert_same(run(list(IMAGES.values())), numbered)
        assert_same(run([x[0] for x in IMAGES.values()]), numbered)
        assert_same(run({name: x[0] for name, x in IMAGES.items()}), full)

    def test_methods_get_the_masked_forward_the_input_and_the_class(self):
        seen = []

        def method(forward, x, target):
            seen.append((forward, x, target))
            return x

        run({"cat": IMAGES["cat"][0]}, {"own": method}, ["ad:no-growth", "avg"])
        ((ad, x, target), (painted, _, _)) = seen
        assert isinstance(ad, ADForward)
        assert isinstance(painted, BaselineForward)
        assert ad.model is painted.model is MODEL
        assert torch.equal(x, IMAGES["cat"])
        assert (type(target), target) == (int, answer(MODEL, IMAGES["cat"]))

    def test_methods_may_use_gradients(self):
        def saliency(forward, x, target):
            x = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(forward(x)[0, target], x)
            return gradient.abs()

        assert len(run(methods={"saliency": saliency, "occlusion": "occlusion"})) == 2 * 2 * 2 * 4

    @pytest.mark.parametrize("method", ["occlusion", "kernel_shap"])
    def test_maskings_may_be_rules_values_tensors_and_functions(self, method):
        tensor = noise(9, (3, 1, 1))
        maskings = {
            "ad:mine": MaskRule(average="active"),
            "gray": 0.5,
            "two": 2,
            "color": tensor,
            "mirror": lambda x, mask: x.flip(-1),
        }
        records = run(methods=[method], maskings=maskings)
        assert list(dict.fromkeys(records["masking"])) == list(maskings)

        def by_hand(forward, x, target):
            torch.manual_seed(0)
            if method == "kernel_shap":
                labels = superpixels(x[0], n_segments=6)
                return KernelShap(forward).attribute(x, target=target, feature_mask=labels, n_samples=12)
            windows = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)}
            return Occlusion(forward).attribute(x, target=target, **windows)

        expected = run(methods={method: by_hand}, maskings=maskings)
        numbers = ["size", "confidence", "rho", "confidence_planted"]
        pd.testing.assert_frame_equal(records[numbers], expected[numbers], rtol=1e-6)

    def test_gray_images_have_superpixels_too(self):
        model = small_net(7, (1, 8, 8))
        records = run({"cat": noise(3, (1, 1, 8, 8))}, ["occlusion", "lime"], model=model)
        assert set(records["method"]) == {"occlusion", "lime"}

    def test_progress_is_shown_unless_told_otherwise(self, capsys):
        run()
        assert capsys.readouterr().err == ""
        run(show_progress=True)
        shown = capsys.readouterr().err
        assert "8/8" in shown
        assert "dog: second avg" in shown

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"backgrounds": None}, ValueError, r"give at least one set of backgrounds, e\.g\."),
            ({"backgrounds": {}}, ValueError, "give at least one set of backgrounds"),
            (
                {"images": {"cat": IMAGES["cat"].numpy()}},
                TypeError,
                "image 'cat' is ndarray, expected the model's input as a tensor",
            ),
            ({"images": [torch.ones(2, 3, 8, 8)]}, ValueError, r"one input.*\(2, 3, 8, 8\)"),
            ({"images": torch.ones(3, 8, 8)}, ValueError, r"one input.*\(8, 8\)"),
            ({"methods": ["occlusions"]}, ValueError, "unknown method 'occlusions': did you mean 'occlusion'"),
            ({"methods": "occlusion"}, TypeError, r"write \['occlusion'\]"),
            ({"methods": {"own": 3}}, TypeError, "a name or a function of .forward, x, target., got int"),
            ({"maskings": ["ad:papr"]}, ValueError, "'paper'"),
            ({"maskings": ["gray"]}, ValueError, "unknown masking 'gray'"),
            ({"maskings": "zero"}, TypeError, r"write \['zero'\]"),
            ({"maskings": []}, ValueError, "got no maskings"),
            ({"maskings": {"own": None}}, TypeError, "got NoneType"),
            ({"model": small_net(5, (3, 8, 8)).train()}, ValueError, "train mode"),
            ({"gammas": ()}, ValueError, "empty sequence"),
            ({"gammas": (0.5, 1.5)}, ValueError, "0 to 1, got 1.5"),
            ({"sizes": (0.5, 1.5)}, ValueError, "0 to 1, got 1.5"),
            ({"to_confidence": "tanh"}, ValueError, "got 'tanh'"),
            ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
            ({"methods": {"own": lambda forward, x, target: x[..., :4]}}, ValueError, r"\(1, 3, 8, 4\)"),
            ({"methods": {"own": lambda forward, x, target: x * torch.nan}}, ValueError, "NaN or Inf"),
        ],
    )
    def test_bad_ones_are_refused(self, changes, error, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=message):
            run(**changes)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("images", [{}, [], torch.ones(0, 3, 8, 8)])
    def test_no_images_are_refused(self, images):
        with pytest.raises(ValueError, match="no images"):
            compare(MODEL, images, METHODS, ["zero"], backgrounds={"K1": K1})


@pytest.mark.parametrize("shape", [(2, 24), (1, 8, 8, 8)])
def test_series_and_volumes(shape: tuple[int, ...]) -> None:
    """With the batch dimension and without, by every method."""
    dims = len(shape) - 1
    convolution, pool = {1: (nn.Conv1d, nn.AdaptiveAvgPool1d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[dims]
    torch.manual_seed(0)
    model = nn.Sequential(convolution(shape[0], 4, 3), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    x, k1 = torch.rand(shape), {"K1": SolidColors(n=2, seed=0)}
    given = {"gammas": (0.5,), "n_samples": 5, "n_segments": 4, "window": 4, "show_progress": False}
    records = compare(
        model, {"alone": x, "batch": x[None]}, list(_methods.METHODS), ["ad:paper", "avg"], backgrounds=k1, **given
    )
    assert len(records) == 2 * len(_methods.METHODS) * 2 * 4
    alone, batch = (records[records.image == name].drop(columns=["image", "seconds"]) for name in ("alone", "batch"))
    assert alone.reset_index(drop=True).equals(batch.reset_index(drop=True))


def test_other_arguments_of_the_model_stay_as_they_are() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, table: torch.Tensor, scale: float) -> torch.Tensor:
            return MODEL(x) * scale + table

    class OfImage(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Scaled()(x, table, 2.0)

    x, given = next(iter(IMAGES.values())), {"gammas": (0.5,), "n_samples": 6, "n_segments": 4, "show_progress": False}
    table = torch.arange(MODEL(x).shape[1])[None] / 10
    methods, maskings, k1 = ["occlusion", "lime", "rise"], ["ad:paper", "avg"], {"K1": K1}
    found = compare(Scaled().eval(), {"a": (x, table, 2.0)}, methods, maskings, backgrounds=k1, **given)
    expected = compare(OfImage().eval(), {"a": x}, methods, maskings, backgrounds=k1, **given)
    assert_same(found, expected)
    with pytest.raises(ValueError, match="empty tuple"):
        compare(Scaled().eval(), {"a": ()}, backgrounds=k1)
