"""The metrics as torchmetrics' Metric: means of the functions, which way is better, and updates that are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics import Metric

import captum_ad.metrics
from captum_ad import ADForward
from captum_ad.metrics import (
    ActivationDeviation,
    ConfidenceDropOff,
    ConfidenceKept,
    ConfidenceOnBackgrounds,
    Deletion,
    DrawnBackgrounds,
    EnergyPointingGame,
    ExplanationSize,
    GridPointingGame,
    Insertion,
    PointingGame,
    RhoRobustness,
    SolidColors,
    SpecificDrop,
    SufficientExplanation,
    sufficient_explanation,
)
from tests.metrics.modular import (
    AD,
    CASES,
    CLASSES,
    HEIGHT,
    MODEL,
    OTHERS,
    PLANTED,
    WIDTH,
    Sample,
    every_class,
    network,
    samples,
    value,
)

OF_EXPLANATIONS = [name for name, case in CASES.items() if "explanation" in case.takes]
OF_FORWARDS = [name for name, case in CASES.items() if "forward_func" in case.takes]

OF_MODELS = [name for name, case in CASES.items() if {"model", "forward"} & set(case.takes)]

HAVE_BATCHES = ["RhoRobustness", "ConfidenceOnBackgrounds", "Insertion", "Deletion"]


def not_found() -> SufficientExplanation:
    """A class that is never the answer has no sufficient explanation."""
    sample = samples(1)[0]
    other = (sample.target + 1) % CLASSES
    model = nn.Sequential(MODEL, nn.Linear(CLASSES, CLASSES, bias=False)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
    found = sufficient_explanation(
        model, sample.inputs, sample.attribution, other, baseline="zero", allow_other_target=True, step=10
    )
    assert not found.found
    return found


def test_every_class_is_among_these_cases():
    exported = {getattr(captum_ad.metrics, name) for name in captum_ad.metrics.__all__}
    classes = {one for one in exported if isinstance(one, type) and issubclass(one, Metric)}
    assert classes == {*(case.kind for case in CASES.values()), *OTHERS.values()}


class TestMean:
    @every_class
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_is_that_of_the_function(self, case, n):
        measured = samples(n)
        assert value(case.fed(measured)) == pytest.approx(case.expected(measured), rel=1e-12)

    @every_class
    def test_settings_are_the_functions(self, case):
        measured = samples(4)
        for name, other in case.others.items():
            found = value(case.fed(measured, **{name: other}))
            assert found == pytest.approx(case.expected(measured, **{name: other}), rel=1e-12)
            assert found != pytest.approx(case.expected(measured)), name

    @pytest.mark.parametrize("name", OF_FORWARDS)
    @pytest.mark.parametrize("baseline", ["max", 0.7, torch.full((1, 2, 1, 1), 0.4), lambda x, mask: 1 - x])
    def test_plain_models_with_a_baseline(self, name, baseline):
        case, measured = CASES[name], samples(4, forward_func=MODEL)
        found = value(case.fed(measured, baseline=baseline))
        assert found == pytest.approx(case.expected(measured, baseline=baseline), rel=1e-12)
        assert found != pytest.approx(case.expected(samples(4)))

    @pytest.mark.parametrize("name", HAVE_BATCHES)
    def test_batch_size(self, name):
        case, sizes = CASES[name], []
        handle = MODEL.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        for batch_size in (1, 3, 6):
            sizes.clear()
            assert value(case.fed(samples(2), batch_size=batch_size)) == pytest.approx(case.expected(samples(2)))
            assert max(sizes[: len(sizes) // 2]) == batch_size
        handle.remove()

    @pytest.mark.parametrize("name", OF_EXPLANATIONS)
    def test_explanations_as_they_were_found(self, name):
        case, metric, masks = CASES[name], CASES[name].make(), []
        for sample in samples(3):
            if sufficient_explanation(AD, sample.inputs, sample.attribution, sample.target, 0.5).empty:
                continue
            found = sufficient_explanation(AD, sample.inputs, sample.attribution, sample.target, 0.5)
            given = {**sample.given(*case.takes), "explanation": found}
            metric.update(**given)
            masks.append(Sample(sample.inputs, found.mask, sample.attribution, sample.target))
        assert value(metric) == pytest.approx(case.expected(masks), rel=1e-12)

    @pytest.mark.parametrize("name", ["RhoRobustness", "ConfidenceOnBackgrounds"])
    def test_backgrounds_that_were_drawn_already(self, name):
        case, (sample,) = CASES[name], samples(1)
        backgrounds = DrawnBackgrounds(
            lambda start, stop: torch.rand(2, HEIGHT, WIDTH).expand(stop - start, -1, -1, -1), 5
        )
        drawn = SolidColors(n=20, seed=8).draw(MODEL, sample.inputs, sample.target)
        metric = case.make(backgrounds=None)  # nothing is drawn from these
        metric.update(**sample.given(*PLANTED), backgrounds=drawn)
        assert value(metric) == pytest.approx(case.expected([sample], backgrounds=drawn), rel=1e-12)
        metric.update(*sample.given(*PLANTED).values(), backgrounds)
        assert metric.count == 2

    def test_of_examples_made_by_hand(self):
        # Says 1 if the first of four pixels is above a half.
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [4, 0, 0, 0]]))
            model[1].bias.copy_(torch.tensor([2.0, 0]))
        x = torch.ones(1, 1, 2, 2)
        low, high = torch.tensor([-2.0, 2.0], dtype=torch.float64).sigmoid().tolist()
        backgrounds = SolidColors(n=40, seed=5)
        colors = backgrounds.draw(model, x, 1).batch(0, 40)[:, 0, 0, 0].double()
        right, wrong = torch.tensor([[True, False], [False, False]]), torch.tensor([[False, True], [True, True]])
        first, last = torch.tensor([[4.0, 3], [2, 1]]), torch.tensor([[1.0, 3], [2, 4]])
        beside = torch.tensor([[False, True], [False, False]])  # one of its three controls is the first pixel
        rise = 0.125 * (high - low)  # the trapezoid of the step at which the pixel appears, less its rectangle
        expected = {
            RhoRobustness(backgrounds): (right, wrong, (1 + (colors > 0.5).double().mean()) / 2),
            ConfidenceOnBackgrounds(backgrounds): (right, wrong, (high + (4 * colors - 2).sigmoid().mean()) / 2),
            ExplanationSize(): (right, wrong, 0.5),
            ConfidenceKept(baseline="zero"): (right, wrong, (high + low) / 2),
            ConfidenceDropOff(baseline="zero"): (right, wrong, (0 + (high - low) / high) / 2),
            Insertion(baseline="zero", step=1): (first, last, (high - rise + low + rise) / 2),
            Deletion(baseline="zero", step=1): (first, first, low + rise),
            PointingGame(): ((first, right), (last, right), 0.5),
            EnergyPointingGame(): ((first, right), (last, right), (4 / 10 + 1 / 10) / 2),
            GridPointingGame(): ((first, 0), (last, 2), (4 / 10 + 2 / 10) / 2),
            SpecificDrop(baseline="zero"): ((model, x, right, 1), (model, x, beside, 1), (high - low) / 3),
            ActivationDeviation(["1"], baseline="zero"): ((model, x, right), (model, x, wrong), 2 / 20**0.5),
        }
        assert {type(metric) for metric in expected} == {case.kind for case in CASES.values()}
        for metric, (one, other, mean) in expected.items():
            for what in (one, other):
                if not isinstance(what, tuple):
                    what = (x, what) if isinstance(metric, ExplanationSize) else (model, x, what, 1)
                metric.update(*what)
            assert value(metric) == pytest.approx(float(mean), abs=1e-6), type(metric).__name__


class TestDirection:
    def test_a_better_explanation_is_better_by_every_metric_as_it_says_itself(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [4, 0, 0, 0]]))
            model[1].bias.copy_(torch.tensor([2.0, 0]))
        x = torch.ones(1, 1, 2, 2)
        first, second = torch.tensor([[True, False], [False, False]]), torch.tensor([[False, True], [False, False]])
        good = Sample(x, first, torch.tensor([[4.0, 3], [2, 1]]), 1, model, model, inside=first)
        bad = Sample(x, ~first, torch.tensor([[1.0, 3], [2, 4]]), 1, model, model, inside=second)
        for case in CASES.values():
            painted = {"baseline": "zero"} if "forward_func" in case.takes else {}
            better, worse = (value(case.fed([sample], **painted)) for sample in (good, bad))
            assert better != worse
            assert case.kind.higher_is_better == (better > worse), case.name

    def test_declared(self):
        lower = {"ExplanationSize", "ConfidenceDropOff", "Deletion", "ActivationDeviation"}
        assert {name for name, case in CASES.items() if case.kind.higher_is_better is False} == lower
        assert {name for name, case in CASES.items() if case.kind.higher_is_better is True} == set(CASES) - lower

    @every_class
    def test_not_differentiable(self, case):
        assert case.kind.is_differentiable is False
        (sample,) = samples(1)
        sample.inputs.requires_grad_()
        metric = case.make()
        for found in (metric(**sample.given(*case.takes)), metric.compute()):
            assert not found.requires_grad


def misfit(case, sample):
    """What an update takes, with two inputs, or attributions, instead of one."""
    given = sample.given(*case.takes)
    return given | {"inputs" if "inputs" in given else "attribution": torch.rand(2, 2, HEIGHT, WIDTH)}


class TestRefusedUpdates:
    """An update that raises adds nothing and loses nothing."""

    @pytest.mark.parametrize("name", OF_EXPLANATIONS)
    @pytest.mark.parametrize("call", ["update", "forward"])
    def test_no_explanation_was_found(self, name, call):
        case, measured = CASES[name], samples(3)
        metric = case.fed(measured[:2])
        with pytest.raises(ValueError, match=r"no sufficient explanation was found"):
            getattr(metric, call)(**{**measured[2].given(*case.takes), "explanation": not_found()})
        assert value(metric) == pytest.approx(case.expected(measured[:2]), rel=1e-12)
        case.fed(measured[2:], metric)
        assert value(metric) == pytest.approx(case.expected(measured), rel=1e-12)

    @every_class
    @pytest.mark.parametrize("call", ["update", "forward"])
    def test_an_input_that_does_not_fit(self, case, call):
        measured = samples(3)
        metric = case.fed(measured)
        with pytest.raises(ValueError, match=r"one (image )?at a time"):
            getattr(metric, call)(**misfit(case, measured[0]))
        assert value(metric) == pytest.approx(case.expected(measured), rel=1e-12)

    @every_class
    def test_it_is_still_reduced_across_processes(self, case):
        metric = case.fed(samples(1))
        reduced = metric._to_sync, metric._should_unsync
        with pytest.raises(ValueError, match=r"one (image )?at a time"):
            metric(**misfit(case, samples(1)[0]))
        assert (metric._to_sync, metric._should_unsync) == reduced

    @pytest.mark.parametrize("name", OF_MODELS)
    def test_a_model_in_train_mode(self, name):
        case, model = CASES[name], network().train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        (one,) = samples(1)
        sample = Sample(one.inputs, one.explanation, one.attribution, one.target, model, ADForward(model))
        with pytest.raises(ValueError, match=r"train mode.*Call model\.eval\(\) first"):
            case.make().update(**sample.given(*case.takes))
        assert model.training
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    @pytest.mark.parametrize("name", OF_FORWARDS)
    def test_a_baseline_with_an_ad_forward_and_none_without(self, name):
        case = CASES[name]
        with pytest.raises(ValueError, match="needs none"):
            case.fed(samples(1), baseline="zero")
        with pytest.raises(ValueError, match="needs a baseline"):
            case.fed(samples(1, forward_func=MODEL))
