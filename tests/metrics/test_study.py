"""Whole comparisons: the records of the single functions, and a file that a run can be taken up from."""

import functools
import math
import os
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import nn

from captum_ad import ADForward, BaselineForward, MaskRule
from captum_ad.baselines import BASELINES, baseline
from captum_ad.metrics import OtherClassImages, SolidColors, compare, rho_curve, rho_robustness, sufficient_explanation
from captum_ad.painted import masked_forward
from captum_ad.superpixels import superpixels
from tests.metrics.models import answer, batches, noise, small_net, untouched

COLUMNS = "image method masking target gamma context found size confidence rho confidence_planted backgrounds".split()
COLUMNS += ["seconds", "run", "input"]
NAN = float("nan")
GAMMAS, SIZES = (0.2, 0.9), (0.25, 0.5)
MODEL = small_net(5, (3, 8, 8), classes=4)
IMAGES = {"cat": noise(1, (1, 3, 8, 8)), "dog": noise(2, (1, 3, 8, 8))}
DATASET = [(noise(100 + i, (3, 8, 8)), i % 4) for i in range(12)]
K1 = SolidColors(6, 1, mean=0.5, std=0.1)
pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision' argument is deprecated")
both_formats = pytest.mark.parametrize("suffix", [".csv", ".parquet"])


def first_channel(forward, x, target):
    """A method of one's own: quick, and not symmetric."""
    return x[:, :1] + torch.linspace(0, 1, 8)


def second_channel(forward, x, target):
    return x[:, 1:2]


METHODS = {"first": first_channel, "second": second_channel}


def run(images=None, methods=None, maskings=("ad:no-growth", "avg"), model=MODEL, **changes):
    """A small comparison, with some of its settings changed."""
    settings = {"gammas": GAMMAS, "contexts": {"K1": K1}, "sizes": SIZES, "samples": 12, "segments": 6, "window": 4}
    settings |= {"step": 6, "show_progress": False}
    return compare(model, IMAGES if images is None else images, methods or METHODS, maskings, **(settings | changes))


def assert_same(records, expected, *, seconds=False):
    """Equal to the last bit, up to the time that it took."""
    drop = [] if seconds else ["seconds"]
    pd.testing.assert_frame_equal(
        records.drop(columns=drop), expected.drop(columns=drop), check_exact=True, check_dtype=False
    )


def cells(records):
    """The attributions that records are of, in order."""
    return list(dict.fromkeys(zip(records["image"], records["method"], records["masking"])))


class Counting:
    """The same methods, noting what they are called for."""

    def __init__(self, fail_at=None, error=RuntimeError):
        self.calls, self.fail_at, self.error = [], fail_at, error

    def __getitem__(self, name):
        @functools.wraps(METHODS[name])
        def method(forward, x, target):
            self.calls.append((name, type(forward).__name__, target))
            if len(self.calls) == self.fail_at:
                raise self.error("the power went out")
            return METHODS[name](forward, x, target)

        return method

    def all(self):
        return {name: self[name] for name in METHODS}


@pytest.fixture(scope="module")
def finished():
    return run()


@pytest.fixture
def full(finished):
    return finished.copy()


class TestRecords:
    @pytest.mark.parametrize("method", ["occlusion", "feature_ablation", "lime", "kernel_shap", "own"])
    def test_are_what_the_single_functions_give(self, method):
        contexts = {"K1": K1, "K2": OtherClassImages(DATASET, 5)}
        maskings = ("ad:paper", "zero", "avg", "blur", "inpaint")
        own = {"own": first_channel} if method == "own" else [method]
        records = run(methods=own, maskings=maskings, contexts=contexts, seed=3)
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
                for context, drawn in contexts.items():
                    fixed = {"image": image, "method": method, "masking": masking, "target": target, "context": context}
                    for one in found:
                        planted = rho_robustness(MODEL, x, one, target, drawn)
                        row = {"gamma": one.gamma, "size": one.size, "confidence": one.confidence}
                        row |= {"rho": planted.rho, "confidence_planted": planted.confidence}
                        expected.append({**fixed, **row, "backgrounds": planted.n, "found": one.found})
                    curve = rho_curve(MODEL, x, attribution, target, drawn, SIZES)
                    for i, size in enumerate(SIZES):
                        row = {"gamma": NAN, "size": size, "confidence": NAN, "rho": float(curve.values[i])}
                        row |= {"confidence_planted": float(curve.confidences[i]), "backgrounds": curve.n}
                        expected.append({**fixed, **row, "found": True})
        names = [name for name in COLUMNS if name not in ("seconds", "run", "input")]
        pd.testing.assert_frame_equal(records[names], pd.DataFrame(expected)[names], rtol=1e-9, atol=1e-9)

    def test_have_these_columns_and_a_row_for_each_cell_context_and_level_in_order(self):
        records = run(contexts={"K2": OtherClassImages(DATASET, 5), "K1": K1})
        assert list(records.columns) == COLUMNS
        keys = list(zip(*(records[name] for name in ("image", "method", "masking", "context", "gamma", "size"))))
        expected = [
            (image, method, masking, context, level)
            for image in IMAGES
            for method in METHODS
            for masking in ("ad:no-growth", "avg")
            for context in ("K2", "K1")
            for level in (*GAMMAS, *SIZES)
        ]
        assert [(*key[:4], key[5] if math.isnan(key[4]) else key[4]) for key in keys] == expected
        assert records.index.tolist() == list(range(len(expected)))

    def test_have_plain_types_and_values_in_range(self, full):
        assert full["found"].dtype == bool
        assert full["target"].dtype == full["backgrounds"].dtype == np.int64
        for name in ("size", "confidence", "rho", "confidence_planted", "seconds", "gamma"):
            assert full[name].dtype == np.float64, name
        assert full[["size", "rho", "confidence_planted"]].stack().between(0, 1).all()
        assert (full["seconds"] > 0).all()
        assert (full["backgrounds"] == 6).all()
        levels = full["gamma"].notna()
        assert full.loc[levels, "confidence"].notna().all()
        assert full.loc[~levels, "confidence"].isna().all()
        assert full.groupby("image")["target"].unique().map(list).to_dict() == {
            image: [answer(MODEL, x)] for image, x in IMAGES.items()
        }

    def test_tell_runs_and_inputs_apart(self, full):
        assert full["run"].nunique() == 1
        of_cell = full.groupby(["image", "method", "masking"])["input"]
        assert set(of_cell.nunique()) == {1}
        assert full["input"].nunique() == len(of_cell)
        others = [run(seed=1), run(gammas=(0.5,)), run(model=small_net(6, (3, 8, 8), 4)), run(contexts={"K": K1})]
        assert len({records["run"].iloc[0] for records in (full, *others)}) == 5
        assert run({"cat": IMAGES["cat"] + 1e-6})["input"].iloc[0] != full["input"].iloc[0]

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

        run(contexts={"noted": Noted()}, batch_size=3)
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
            "grey": 0.5,
            "two": 2,
            "colour": tensor,
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

    def test_grey_images_have_superpixels_too(self):
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
            ({"contexts": None}, ValueError, r"give one context at least, e\.g\."),
            ({"contexts": {}}, ValueError, "give one context at least"),
            ({"images": {"cat": IMAGES["cat"].numpy()}}, TypeError, "image 'cat' is ndarray, expected a tensor"),
            ({"images": [torch.ones(2, 3, 8, 8)]}, ValueError, r"one input.*\(2, 3, 8, 8\)"),
            ({"images": torch.ones(3, 8, 8)}, ValueError, r"one input.*\(8, 8\)"),
            ({"methods": ["occlusions"]}, ValueError, "unknown method 'occlusions': did you mean 'occlusion'"),
            ({"methods": "occlusion"}, TypeError, r"write \['occlusion'\]"),
            ({"methods": {"own": 3}}, TypeError, "a name or a function of .forward, x, target., got int"),
            ({"maskings": ["ad:papr"]}, ValueError, "'paper'"),
            ({"maskings": ["gray"]}, ValueError, "unknown masking 'gray'"),
            ({"maskings": "zero"}, TypeError, r"write \['zero'\]"),
            ({"maskings": []}, ValueError, "name one masking at least"),
            ({"maskings": {"own": None}}, TypeError, "got NoneType"),
            ({"path": "records.txt"}, ValueError, r"ends in \.csv or \.parquet, got 'records\.txt'"),
            ({"path": "nowhere/records.csv"}, ValueError, "no directory 'nowhere' for the records"),
            ({"model": small_net(5, (3, 8, 8)).train()}, ValueError, "train mode"),
            ({"gammas": ()}, ValueError, "empty sequence"),
            ({"gammas": (0.5, 1.5)}, ValueError, "0 to 1, got 1.5"),
            ({"sizes": (0.5, 1.5)}, ValueError, "0 to 1, got 1.5"),
            ({"activation": "tanh"}, ValueError, "got 'tanh'"),
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
            compare(MODEL, images, METHODS, ["zero"], contexts={"K1": K1})


@both_formats
class TestFile:
    def test_has_the_records_and_nothing_else_is_written(self, suffix, tmp_path, monkeypatch):
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        there.mkdir()
        monkeypatch.chdir(here)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        path = there / f"records{suffix}"
        records = run(path=str(path) if suffix == ".csv" else path)
        written = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        pd.testing.assert_frame_equal(written, records, check_dtype=False)
        assert os.listdir(there) == [path.name]
        assert os.listdir(here) == []

    def test_does_not_change_what_is_returned(self, suffix, tmp_path, full):
        assert_same(run(path=tmp_path / f"records{suffix}"), full)

    def test_that_is_complete_needs_no_forward_and_stays(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        first = run(path=path)
        before = path.read_bytes()
        counting = Counting()
        with batches(MODEL) as sizes:
            again = run(methods=counting.all(), path=path)
        assert sizes == []
        assert counting.calls == []
        assert_same(again, first, seconds=True)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("missing", [[0], [7], [2, 3, 5], [1, 2, 3, 4, 5, 6]])
    def test_that_lacks_cells_gets_those(self, suffix, tmp_path, full, missing):
        path = tmp_path / f"records{suffix}"
        gone = [cells(full)[i] for i in missing]
        keys = list(zip(full["image"], full["method"], full["masking"]))
        self.write(full[[key not in gone for key in keys]], path)
        counting = Counting()
        again = run(methods=counting.all(), path=path)
        kinds = {"ad:no-growth": "ADForward", "avg": "BaselineForward"}
        assert counting.calls == [(m, kinds[masking], answer(MODEL, IMAGES[image])) for image, m, masking in gone]
        assert_same(again, full)
        kept = [key not in gone for key in keys]
        assert_same(again[kept], full[kept], seconds=True)
        assert sorted(cells(self.read(path))) == sorted(cells(full))
        assert len(self.read(path)) == len(full)

    def test_that_lacks_an_image_runs_the_model_for_that_only(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, path=path)
        with batches(MODEL) as alone:
            run({"dog": IMAGES["dog"]})
        with batches(MODEL) as sizes:
            run(path=path)
        assert sizes == alone

    @pytest.mark.parametrize("rows", [[0], [3, 4, 9], [1, 2, 3]])
    def test_that_lacks_rows_of_a_cell_gets_them_again(self, suffix, tmp_path, full, rows):
        path = tmp_path / f"records{suffix}"
        self.write(full.drop(index=rows), path)
        again = run(path=path)
        assert_same(again, full)
        assert len(self.read(path)) == len(full)

    def test_grows_with_images_methods_and_maskings(self, suffix, tmp_path, full):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, {"first": first_channel}, ["avg"], path=path)
        counting = Counting()
        assert_same(run(methods=counting.all(), path=path), full)
        assert len(counting.calls) == 7
        some = run({"dog": IMAGES["dog"]}, {"second": second_channel}, ["avg"], path=path)
        assert cells(some) == [("dog", "second", "avg")]
        assert sorted(cells(self.read(path))) == sorted(cells(full))

    def test_knows_an_image_by_its_values_not_by_its_name_alone(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(path=path)
        changed = {"cat": IMAGES["dog"], "dog": IMAGES["dog"]}
        assert_same(run(changed, path=path), run(changed))

    @pytest.mark.parametrize(
        "name", ["NA", "nan", "None", "007", "1e3", "a,b", 'say "x"', "two\nlines", " ", "ü→é", "True"]
    )
    def test_finds_names_of_any_kind_again(self, suffix, tmp_path, name):
        path = tmp_path / f"records{suffix}"
        counting = Counting()
        calls = [
            run({name: IMAGES["cat"]}, {name: counting["first"]}, {name: 0.5}, contexts={name: K1}, path=path)
            for _ in range(2)
        ]
        assert len(counting.calls) == 1
        assert_same(calls[1], calls[0], seconds=True)
        assert calls[1]["context"].unique().tolist() == [name]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    @pytest.mark.parametrize("fail_at", [1, 4, 8])
    def test_of_an_interrupted_run_has_what_was_finished(self, suffix, tmp_path, full, fail_at, error):
        path = tmp_path / f"records{suffix}"
        failing = Counting(fail_at, error)
        with pytest.raises(error, match="power went out"):
            run(methods=failing.all(), path=path)
        assert os.listdir(tmp_path) == ([path.name] if fail_at > 1 else [])
        if fail_at > 1:
            finished = self.read(path)
            assert cells(finished) == cells(full)[: fail_at - 1]
            assert_same(finished, full.iloc[: len(finished)])
        counting = Counting()
        assert_same(run(methods=counting.all(), path=path), full)
        assert len(counting.calls) == 8 - (fail_at - 1)
        assert_same(self.read(path), full)
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize("step", ["replace", "chmod"])
    def test_that_cannot_be_written_stays_as_it_was(self, suffix, tmp_path, monkeypatch, step):
        path = tmp_path / f"records{suffix}"
        run({"cat": IMAGES["cat"]}, path=path)
        before = path.read_bytes()

        def full_disk(*args, **kwargs):
            raise OSError("no space left")

        monkeypatch.setattr(os, step, full_disk)
        with pytest.raises(OSError, match="no space left"):
            run(path=path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [path.name]

    def test_is_written_after_every_attribution(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        finished = []

        def method(forward, x, target):
            finished.append(len(cells(self.read(path))) if path.exists() else 0)
            return x

        run(methods={"own": method}, path=path)
        assert finished == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        "changes",
        [
            {"gammas": (0.2, 0.8)},
            {"gammas": (0.2,)},
            {"sizes": (0.25,)},
            {"contexts": {"K1": SolidColors(6, 2, mean=0.5, std=0.1)}},
            {"contexts": {"K1": SolidColors(7, 1, mean=0.5, std=0.1)}},
            {"contexts": {"other": K1}},
            {"contexts": {"K1": K1, "K2": OtherClassImages(DATASET)}},
            {"step": 5},
            {"activation": "sigmoid"},
            {"seed": 1},
            {"samples": 13},
            {"segments": 7},
            {"window": 5},
            {"model": small_net(6, (3, 8, 8), classes=4)},
        ],
    )
    def test_of_other_settings_is_refused_and_stays(self, suffix, tmp_path, full, changes):
        path = tmp_path / f"records{suffix}"
        self.write(full, path)
        self.assert_refused(path, **changes)

    def test_of_a_masking_of_another_value_is_not_taken_for_this_one(self, suffix, tmp_path):
        """A name is the user's; what it stood for was another value, and its records are not these."""
        path = tmp_path / f"records{suffix}"
        run(maskings={"mine": 0.0}, path=path)
        self.assert_not_taken_over(path, maskings={"mine": 3.0})

    def test_of_another_rule_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(maskings={"ad:mine": MaskRule(growth="none")}, path=path)
        self.assert_not_taken_over(path, maskings={"ad:mine": MaskRule(growth="window")})

    def test_of_another_method_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(methods={"mine": first_channel}, path=path)
        self.assert_not_taken_over(path, methods={"mine": second_channel})

    def test_of_another_data_set_is_not_taken_for_this_one(self, suffix, tmp_path):
        path = tmp_path / f"records{suffix}"
        run(contexts={"K2": OtherClassImages(DATASET)}, path=path)
        self.assert_not_taken_over(path, contexts={"K2": OtherClassImages(DATASET[:7])})

    def test_of_another_model_with_the_same_weights_is_not_taken_for_this_one(self, suffix, tmp_path, full):
        """Another activation function in place of the third layer's."""
        path = tmp_path / f"records{suffix}"
        self.write(full, path)
        other = small_net(5, (3, 8, 8), classes=4)
        assert isinstance(other[2], nn.SiLU)
        other[2] = nn.Tanh().eval()
        self.assert_not_taken_over(path, model=other)

    def test_of_contexts_of_ones_own_is_taken_up(self, suffix, tmp_path):
        """Made anew, as in another process, with the same settings."""

        class Mine:
            def __init__(self, n):
                self.n = n

            def draw(self, model, x, target, *, batch_size=None):
                return SolidColors(self.n, mean=0.5, std=0.1).draw(model, x, target)

        path = tmp_path / f"records{suffix}"
        kept_alive = Mine(4)
        first = run(contexts={"mine": kept_alive}, path=path)
        assert_same(run(contexts={"mine": Mine(4)}, path=path), first, seconds=True)

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00junk", b"image,run\ncat,1\n"])
    def test_of_something_else_is_refused_and_stays(self, suffix, tmp_path, content):
        path = tmp_path / f"records{suffix}"
        path.write_bytes(content)
        self.assert_refused(path)

    def assert_refused(self, path, **changes):
        before = path.read_bytes()
        with batches(MODEL) as sizes, pytest.raises(ValueError, match="records"):
            run(path=path, **changes)
        assert sizes == []
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]

    def assert_not_taken_over(self, path, **changes):
        """Refused, or computed again."""
        before, refusal = path.read_bytes(), None
        try:
            records = run(path=path, **changes)
        except ValueError as error:
            refusal = str(error)
        if refusal is None:
            assert_same(records, run(**changes))
        else:
            assert "has records of other settings" in refusal
            assert path.read_bytes() == before

    @staticmethod
    def read(path):
        return pd.read_csv(path, float_precision="round_trip") if path.suffix == ".csv" else pd.read_parquet(path)

    @staticmethod
    def write(records, path):
        if path.suffix == ".csv":
            records.to_csv(path, index=False)
        else:
            records.to_parquet(path, index=False)
