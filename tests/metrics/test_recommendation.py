"""Which masking a network is least disturbed by: on networks of which that is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from captum_ad import MaskRule
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.metrics import missingness_curve, present_masks, recommend_rule
from captum_ad.metrics.masking_names import all_maskings
from captum_ad.metrics.recommendation import _off_the_object
from captum_ad.metrics.recommendation_text import interval, number
from tests.metrics.missingness import network, photographs
from tests.metrics.models import batches, sigmoid, untouched
from tests.metrics.recommendation import BRIGHT, CENTER, brightness, ignorant, mean_of

TESTS = ["75 % there", "50 % there", "25 % there", "middle 25 %"]


def values(found, test, value="kept"):
    table = found.table()
    return table[(table["test"] == test) & (table["value"] == value)].set_index("masking")


class TestMeasures:
    def test_a_network_that_looks_at_the_center_alone(self):
        found = recommend_rule(
            mean_of(CENTER), BRIGHT, boxes=[CENTER] * 8, maskings=["ad:paper", "ad:no-growth", "zero"]
        )
        alone, hidden, control = (
            values(found, f"{what}") for what in ("object alone", "object hidden", "control hidden")
        )
        assert (alone["mean"] == 1).all()
        assert (hidden["mean"] == 0).all()
        assert (control["mean"] == 1).all()
        assert (values(found, "control hidden", "change")["mean"] == 0).all()
        means = BRIGHT[:, 0, 4:8, 4:8].mean((1, 2))
        change = np.mean([sigmoid(-0.8) - sigmoid(4 * float(mean) - 0.8) for mean in means])
        assert values(found, "object hidden", "change")["mean"].to_numpy() == pytest.approx(change, abs=1e-6)
        specific = values(found, "hidden, object - control", "change")["mean"].to_numpy()
        assert specific == pytest.approx(change, abs=1e-6)
        assert (values(found, "middle 25 %")["mean"] == 1).all()
        assert "| object − control |" in found.markdown()
        row = values(found, "hidden, object - control", "change").loc["zero"]
        shown = f"{number(row['mean'], signed=True)}{interval(row['low'], row['high'], signed=True)}"
        assert f"| {shown} |" in next(line for line in found.markdown().splitlines() if line.startswith("| zero |"))
        assert "8 of 8 photographs have room for it, and of these, paired, is the difference" in found.notes

    def test_scattered_and_middle_are_the_missingness_curve(self):
        x, model = photographs(), network()
        with torch.no_grad():
            targets = model(x).argmax(1)
        maskings = ["ad:no-growth", "ad:no-growth-mean", "avg"]
        found = recommend_rule(model, x, maskings=maskings, patch=2, seed=5)
        shares = (0.25, 0.5, 0.75)
        for masking in maskings:
            forward = masked_forward(model, masking)
            curve = missingness_curve(forward, x, targets, shares, patch=2, seed=5)
            middle = missingness_curve(forward, x, targets, (0.25,), "center")
            for test, kept, sure in [
                *zip(["25 % there", "50 % there", "75 % there"], curve.values, curve.confidences),
                ("middle 25 %", middle.values[0], middle.confidences[0]),
            ]:
                assert values(found, test)["mean"][masking] == pytest.approx(float(kept), abs=1e-12)
                assert values(found, test, "confidence")["mean"][masking] == pytest.approx(float(sure), abs=1e-5)

    def test_patches_are_in_proportion_to_the_image(self):
        seen = []

        def note(x, mask):
            seen.append(mask.clone())
            return torch.zeros_like(x)

        x = torch.ones(1, 1, 28, 42)
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
        recommend_rule(model, x, maskings={"note": note, "zero": "zero"})
        expected = present_masks(x, (0.75, 0.5, 0.25), patch=2, seed=(0, 0))
        assert torch.equal(seen[0][:3, 0], expected)

    def test_the_score_is_the_mean_over_scattered_shares_and_the_object_alone(self):
        found = recommend_rule(
            network(), photographs(8), boxes=[(2, 2, 6, 6)] * 8, patch=2, maskings=["ad:paper", "avg"]
        )
        for masking in ("ad:paper", "avg"):
            parts = [values(found, test)["mean"][masking] for test in [*TESTS[:3], "object alone"]]
            assert values(found, "score")["mean"][masking] == pytest.approx(np.mean(parts))
        assert found.best == values(found, "score")["mean"].idxmax()

    def test_only_photographs_that_are_right_count(self):
        x = torch.cat([BRIGHT, torch.zeros(4, 1, 12, 12)])
        found = recommend_rule(mean_of(CENTER), x, [1] * 12, maskings=["zero", "max"])
        assert found.count == 8
        assert "right on 8 of 12 whole photographs (the classes are those given)" in found.notes
        records = found.records
        assert (records[records["image"].isin(list(map(str, range(8, 12))))]["test"] == "whole").all()
        assert (found.table()["n"] == 8).all()


class TestWinner:
    def test_what_keeps_the_class_is_recommended(self):
        found = recommend_rule(brightness(), BRIGHT, maskings=["ad:paper", "zero", "max"])
        assert (found.best, found.clear, found.rivals) == ("max", True, [])
        assert found.sentence.startswith("Use BaselineForward(model, 'max'): with half of the patches missing it keeps")
        assert "100 % of the photographs, the best AD rule (ad:paper) on 0 %" in found.sentence
        assert values(found, "score")["difference"]["zero"] == -1

    def test_a_rule_is_recommended_as_it_is_written(self):
        rule = MaskRule(average="active")
        model = nn.Sequential(nn.AvgPool2d(12), nn.Flatten(), nn.Linear(1, 2)).eval()
        with torch.no_grad():
            model[2].weight.copy_(torch.tensor([[0.0], [4.0]]))
            model[2].bias.copy_(torch.tensor([2.6, 0.0]))
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *model[1:]).eval()
        found = recommend_rule(pooled, BRIGHT, maskings=[rule, "ad:paper", "zero"])
        assert found.clear
        assert found.sentence.startswith("Use ADForward(model, 'average=active'): ")
        assert "the best paint (zero) on 0 %" in found.sentence
        assert list(found.maskings) == ["ad:average=active", "ad:paper", "zero"]

    def test_equal_maskings_do_not_differ_and_neither_wins(self):
        found = recommend_rule(network(), photographs(8), maskings={"one": "zero", "two": 0.0}, patch=2)
        differences = found.table().query("masking == 'two'")[["difference", "difference_low", "difference_high"]]
        assert (differences == 0).all(axis=None)
        assert not found.clear
        assert found.sentence.startswith("No clear winner: one and two are within noise")

    def test_a_network_that_ignores_its_input_has_no_winner(self):
        found = recommend_rule(ignorant(), BRIGHT, boxes=[(0, 0, 5, 5)] * 8)
        assert (found.table().query("value == 'kept'")["mean"] == 1).all()
        assert (found.table().query("value == 'change'")["mean"] == 0).all()
        assert list(found.maskings) == all_maskings()
        assert len(found.rivals) == len(all_maskings()) - 1
        assert found.sentence.startswith("No clear winner")
        assert found.sentence.endswith("Try more photographs, or keep the default, ADForward(model).")
        assert str(found) == f"{found.markdown()}\n\n{found.notes}\n\n{found.sentence}"

    @pytest.mark.parametrize("n", [1, 5])
    def test_few_photographs_name_no_winner(self, n):
        found = recommend_rule(brightness(), BRIGHT[:n], maskings=["zero", "max"])
        assert (found.best, found.clear) == ("max", False)
        assert found.sentence.startswith(f"No recommendation from {'one photograph' if n == 1 else '5 photographs'}")
        assert found.table()["low"].isna().all() == (n == 1)
        assert ("no intervals" in found.notes) == (n == 1)
        assert "nan" not in found.markdown()

    def test_a_masking_that_still_shows_the_object_is_told(self):
        nothing = {"nothing": lambda x, mask: x, "zero": "zero"}
        found = recommend_rule(mean_of(CENTER, 0.5), BRIGHT, boxes=[CENTER] * 8, maskings=nothing)
        assert found.best == "nothing"
        assert (
            "hiding the object under nothing changes the confidence no more than hiding the control" in found.sentence
        )

    def test_the_order_of_the_records_does_not_matter(self):
        found = recommend_rule(network(), photographs(8), maskings=["ad:paper", "zero", "avg"], patch=2)
        for seed in range(3):
            shuffled = dataclasses.replace(found, records=found.records.sample(frac=1, random_state=seed))
            keys = ["masking", "test", "value"]
            pd.testing.assert_frame_equal(
                shuffled.table().sort_values(keys, ignore_index=True),
                found.table().sort_values(keys, ignore_index=True),
            )
            assert shuffled.sentence == found.sentence


class TestRunning:
    def test_nothing_is_computed_twice_and_the_model_is_not_changed(self):
        x, model = torch.cat([BRIGHT[:3], torch.zeros(1, 1, 12, 12)]), mean_of(CENTER)
        with untouched(model, x), batches(model) as sizes:
            recommend_rule(model, x, [1] * 4, boxes=[CENTER] * 4, maskings=["zero", "max"])
        assert sizes == [1, 7, 7] * 3 + [1]

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_batches_do_not_matter(self, batch_size):
        given = {"boxes": [(2, 2, 6, 6)] * 4, "maskings": ["ad:no-growth-mean", "inpaint"], "patch": 2}
        usual = recommend_rule(network(), photographs(), **given).records
        other = recommend_rule(network(), photographs(), **given, batch_size=batch_size).records
        assert (usual["kept"] == other["kept"]).all()
        assert np.allclose(usual["confidence"], other["confidence"], atol=1e-5)

    def test_the_seed_draws_the_masks(self):
        given = {"maskings": ["zero", "avg"], "patch": 2}
        first, again, other = (recommend_rule(network(), photographs(), seed=s, **given).records for s in (0, 0, 1))
        pd.testing.assert_frame_equal(first, again)
        assert (first["confidence"] != other["confidence"]).any()

    def test_images_may_have_names_and_sizes_of_their_own(self):
        model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 2)).eval()
        images = {"a": torch.rand(1, 8, 8), "b": torch.rand(1, 1, 9, 10)}
        found = recommend_rule(model, images, maskings=["zero", "avg"])
        assert list(found.records["image"].unique()) == ["a", "b"]


def test_the_control_is_as_large_and_off_the_object():
    rng = np.random.default_rng(0)
    placed = 0
    for _ in range(300):
        height, width = (int(side) for side in rng.integers(2, 9, 2))
        left, top = int(rng.integers(width)), int(rng.integers(height))
        right, bottom = int(rng.integers(left + 1, width + 1)), int(rng.integers(top + 1, height + 1))
        box, w, h = (left, top, right, bottom), right - left, bottom - top
        places = {
            (x, y, x + w, y + h)
            for x in range(width - w + 1)
            for y in range(height - h + 1)
            if x + w <= left or x >= right or y + h <= top or y >= bottom
        }
        control = _off_the_object(box, height, width, rng)
        assert control in places if places else control is None
        placed += control is not None
    assert 200 < placed < 300


def test_every_place_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {_off_the_object((1, 1, 2, 2), 3, 3, rng) for _ in range(300)}
    assert len(drawn) == 8
