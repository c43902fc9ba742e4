"""Removal truth: known answers, and what holds for every masking."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.benchmarks.scenes import (
    MASK_SHAPES,
    NETWORKS,
    PARTS,
    Scene,
    draw,
    load_network,
    normalized,
    removal_truth,
    right_scenes,
    scene,
    visible,
)
from captum_ad.benchmarks.scenes import truth as module
from captum_ad.benchmarks.scenes.behind import Background
from captum_ad.benchmarks.scenes.truth import MEASURES
from captum_ad.metrics.masking_names import all_maskings
from tests.benchmarks_package.scenes.known import Painter, Reader, reader_of
from tests.benchmarks_package.scenes.test_masks import FAR


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_hidden_changes_nothing(name):
    trained = load_network(name)
    nothing_shows = Scene(0, Background("textured", 1), (), (*FAR, FAR[0]))
    found = removal_truth(trained.model, [nothing_shows], all_maskings())
    for masking in all_maskings():
        assert found.claimed[masking].abs().max() < 1e-4
        assert found.leaked[masking].abs().max() < 1e-4


class TestKnownAnswers:
    @pytest.mark.parametrize("part", range(len(PARTS)))
    def test_painting_the_truth_is_perfect(self, part):
        one = scene(11, background="textured")
        found = removal_truth(reader_of(one, part), [one], {"truth": Painter([one])})
        assert found.true.abs().max() > 1
        assert found.estimate("error", "truth").value == pytest.approx(0, abs=1e-5)
        assert found.estimate("leakage", "truth").value == pytest.approx(0, abs=1e-5)
        assert found.estimate("sign", "truth").value == 1
        assert found.estimate("correlation", "truth").value == pytest.approx(1)

    def test_the_error_of_gray_paint(self):
        scenes = [scene(12), scene(13, background="textured")]
        model = reader_of(scenes[0], 3)
        found = removal_truth(model, scenes, ["zero"])
        wrong, truth, leak = 0.0, 0.0, 0.0
        for one in scenes:
            whole = normalized(draw(one)).double()
            for part in range(len(PARTS)):
                lacking = normalized(draw(one, [i != part for i in range(len(PARTS))])).double()
                gray = whole.clone()
                gray[:, visible(one, part)] = 0  # a normalized middle gray
                weights = model.weights.double()
                claimed, true = ((weights * (image - whole)).sum((1, 2, 3)) for image in (gray, lacking))
                wrong += float(((claimed - true) ** 2).sum())
                truth += float((true**2).sum())
                leak += float(((weights * (gray - lacking)).sum((1, 2, 3)) ** 2).sum())
        assert wrong > 0.01 * truth
        assert found.estimate("error", "zero").value == pytest.approx((wrong / truth) ** 0.5, rel=1e-4)
        assert found.estimate("leakage", "zero").value == pytest.approx((leak / truth) ** 0.5, rel=1e-4)

    def test_paint_that_changes_nothing_has_error_one_and_leaks_nothing(self):
        scenes = [scene(14), scene(15)]

        def nothing(x, mask):
            return x

        found = removal_truth(reader_of(scenes[0], 2), scenes, [nothing])
        assert found.estimate("error", "nothing").value == pytest.approx(1)
        assert found.estimate("leakage", "nothing").value == 0
        assert found.estimate("correlation", "nothing").value == 0
        assert found.estimate("sign", "nothing").value == 0

    def test_the_opposite_of_the_truth_has_the_wrong_signs(self):
        one = scene(16)
        painter = Painter([one])
        found = removal_truth(reader_of(one, 1), [one], {"opposite": lambda x, mask: 2 * x - painter(x, mask)})
        assert found.estimate("error", "opposite").value == pytest.approx(2, rel=1e-4)
        assert found.estimate("sign", "opposite").value == 0
        assert found.estimate("correlation", "opposite").value == pytest.approx(-1)


@pytest.mark.parametrize("masking", ["ad:paper", "ad:no-growth-mean", "zero", "inpaint"])
@pytest.mark.parametrize("shape", ["exact", "grown", "box"])
def test_what_reads_nothing_hidden_errs_by_its_shape_alone(masking, shape):
    trained = load_network("residual")
    scenes = right_scenes(trained.model, 2, classes_seed=trained.seed)
    found = removal_truth(trained.model, scenes, [masking], shape=shape)
    assert torch.allclose(found.leaked[masking], found.claimed[masking] - found.true, atol=1e-3)


class TestOptions:
    @pytest.mark.parametrize("shape", MASK_SHAPES)
    def test_the_batch_size_changes_nothing(self, shape):
        trained = load_network("mobile")
        scenes = right_scenes(trained.model, 3, classes_seed=trained.seed)
        first, other = (
            removal_truth(trained.model, scenes, ["ad:no-growth", "blur"], shape=shape, batch_size=size)
            for size in (50, 4)
        )
        for masking in ("ad:no-growth", "blur"):
            assert torch.allclose(first.claimed[masking], other.claimed[masking], atol=1e-3)

    def test_claims_are_those_of_the_masked_forward(self):
        trained = load_network("plain")
        (one,) = right_scenes(trained.model, 1, classes_seed=trained.seed)
        found = removal_truth(trained.model, [one], ["ad:no-growth"])
        x = normalized(draw(one))[None]
        claim = masked_forward(trained.model, "ad:no-growth")(x, mask=~visible(one, 4)) - trained.model(x)
        assert torch.allclose(found.claimed["ad:no-growth"][0, 4], claim[0], atol=1e-4)

    def test_the_table_and_paired_differences(self):
        trained = load_network("residual")
        scenes = right_scenes(trained.model, 6, classes_seed=trained.seed)
        found = removal_truth(trained.model, scenes, ["ad:paper", "avg"])
        table = found.table()
        assert len(table) == 2 * len(MEASURES)
        assert (table["low"] <= table["value"]).all()
        assert (table["value"] <= table["high"]).all()
        assert (table["n"] == 6).all()
        difference = found.estimate("error", "ad:paper", minus="avg")
        values = [found.estimate("error", masking).value for masking in ("ad:paper", "avg")]
        assert difference.value == pytest.approx(values[0] - values[1])
        assert found.estimate("error", "avg", minus="avg").high == 0

    @pytest.mark.parametrize(("measure", "masking"), [("eror", "zero"), ("error", "avg")])
    def test_unknown_names(self, measure, masking):
        found = removal_truth(reader_of(scene(0), 0), [scene(0)], ["zero"])
        with pytest.raises(ValueError, match="unknown"):
            found.estimate(measure, masking)

    def test_bad_input(self):
        model = reader_of(scene(0), 0)
        with pytest.raises(ValueError, match="scenes is empty"):
            removal_truth(model, [], ["zero"])
        for size in (0, -1, 2.0):
            with pytest.raises(ValueError, match="batch_size must be a positive integer"):
                removal_truth(model, [scene(0)], ["zero"], batch_size=size)
        with pytest.raises(ValueError, match="unknown mask shape"):
            removal_truth(model, [scene(0)], ["zero"], shape="disc")
        with pytest.raises(ValueError, match="train mode"):
            removal_truth(nn.Sequential(model).train(), [scene(0)], ["zero"])


class TestRightScenes:
    def test_they_are_right_new_and_the_same_for_the_same_seed(self):
        trained = load_network("attention", "tuning")
        scenes = right_scenes(trained.model, 5, classes_seed=trained.seed, background="smooth", seed=3)
        answers = trained.model(normalized(torch.stack([draw(one) for one in scenes]))).argmax(1)
        assert answers.tolist() == [one.label for one in scenes]
        assert scenes == right_scenes(trained.model, 5, classes_seed=trained.seed, background="smooth", seed=3)
        assert scenes[0] != scenes[1]

    def test_a_network_that_gets_none_right(self, monkeypatch):
        monkeypatch.setattr(module, "scene", lambda *seed, **more: scene(0, label=1))
        always_zero = Reader(torch.zeros(12, 3, 64, 64))
        with pytest.raises(ValueError, match="the network gets 0 of 20 whole scenes right, but 1 are needed"):
            right_scenes(always_zero, 1, classes_seed=0)

    def test_bad_backgrounds_and_seeds(self):
        model = reader_of(scene(0), 0)
        with pytest.raises(ValueError, match="background is empty: give at least one"):
            right_scenes(model, 1, classes_seed=0, background=[])
        for seed in (-1, 1.5):
            with pytest.raises(ValueError, match="seed must be an integer"):
                right_scenes(model, 1, classes_seed=0, seed=seed)

    @pytest.mark.parametrize("count", [0, -1, True])
    def test_bad_counts(self, count):
        with pytest.raises(ValueError, match="count must be a positive number"):
            right_scenes(reader_of(scene(0), 0), count, classes_seed=0)
