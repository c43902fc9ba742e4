"""The metrics as torchmetrics' Metric: means of the functions, whatever torchmetrics does with them.

And the package's lazy exports: what can be imported, and used, without which optional package.
"""

from __future__ import annotations

import copy
import json
import pickle
import re
import statistics
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

import captum_ad.metrics
from captum_ad import ADForward
from captum_ad.metrics import (
    Backgrounds,
    ConfidenceDropOff,
    ConfidenceKept,
    ConfidenceOnBackgrounds,
    Deletion,
    ExplanationSize,
    Insertion,
    RhoRobustness,
    SolidColors,
    SufficientExplanation,
    confidence_drop_off,
    confidence_kept,
    confidence_on_backgrounds,
    deletion_curve,
    explanation_size,
    insertion_curve,
    rho_robustness,
    sufficient_explanation,
)

HEIGHT, WIDTH, CLASSES = 6, 5, 3
COLOURS = SolidColors(n=7, seed=1)


def network() -> nn.Sequential:
    """Of the usual parts, batch statistics among them, and not too sure of its answers."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        norm, head = nn.BatchNorm2d(4), nn.Linear(4, CLASSES)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        body = (nn.Conv2d(2, 4, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        images = torch.rand(64, 2, HEIGHT, WIDTH)
        head.weight *= 2 / model(images).std(0)[:, None]
        head.bias -= model(images).mean(0)
    return model


MODEL = network()
AD = ADForward(MODEL)


def flipped(output: Tensor) -> Tensor:
    """Confidences by which the least likely class is the answer."""
    return (-output).softmax(1)


@dataclass(frozen=True)
class Sample:
    """Whatever an update may want."""

    x: Tensor
    explanation: Tensor
    attribution: Tensor
    target: int
    model: nn.Module = MODEL
    forward: nn.Module = AD

    def given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


def samples(n: int = 4, forward: nn.Module = AD) -> list[Sample]:
    generator = torch.Generator().manual_seed(n)
    found = []
    for _ in range(n):
        x, attribution = torch.rand(2, 1, 2, HEIGHT, WIDTH, generator=generator)
        explanation = torch.rand(HEIGHT, WIDTH, generator=generator) < 0.6
        found.append(Sample(x, explanation, attribution, int(MODEL(x).argmax()), forward=forward))
    return found


@dataclass(frozen=True)
class Case:
    """A class, how it is made, what an update takes, and the function that it is the mean of."""

    kind: type[Metric]
    settings: dict[str, Any]
    takes: tuple[str, ...]
    function: Callable[..., float]
    others: dict[str, Any]
    """Settings that make a difference."""

    @property
    def name(self) -> str:
        return self.kind.__name__

    def make(self, **more: Any) -> Any:
        return self.kind(**{**self.settings, **more})

    def expected(self, measured: Sequence[Sample], **more: Any) -> float:
        settings = {**self.settings, **more}
        return statistics.fmean(self.function(**sample.given(*self.takes), **settings) for sample in measured)

    def fed(self, measured: Sequence[Sample], metric: Any = None, **more: Any) -> Any:
        metric = self.make(**more) if metric is None else metric
        for sample in measured:
            metric.update(**sample.given(*self.takes))
        return metric


PLANTED = ("model", "x", "explanation", "target")
ALONE = ("forward", "x", "explanation", "target")
RANKED = ("forward", "x", "attribution", "target")
CASES = {
    case.name: case
    for case in (
        Case(
            RhoRobustness,
            {"contexts": COLOURS},
            PLANTED,
            lambda **given: rho_robustness(**given).rho,
            {"contexts": SolidColors(n=9, seed=3), "activation": flipped},
        ),
        Case(
            ConfidenceOnBackgrounds,
            {"contexts": COLOURS},
            PLANTED,
            confidence_on_backgrounds,
            {"contexts": SolidColors(n=9, seed=3), "activation": "sigmoid"},
        ),
        Case(ExplanationSize, {}, ("x", "explanation"), explanation_size, {}),
        Case(ConfidenceKept, {}, ALONE, confidence_kept, {"activation": "sigmoid"}),
        Case(ConfidenceDropOff, {}, ALONE, confidence_drop_off, {"activation": "sigmoid"}),
        Case(
            Insertion, {}, RANKED, lambda **given: insertion_curve(**given).area, {"activation": "sigmoid", "step": 7}
        ),
        Case(Deletion, {}, RANKED, lambda **given: deletion_curve(**given).area, {"activation": "sigmoid", "step": 7}),
    )
}
OF_EXPLANATIONS = [name for name, case in CASES.items() if "explanation" in case.takes]
OF_FORWARDS = [name for name, case in CASES.items() if "forward" in case.takes]

HAVE_BATCHES = ["RhoRobustness", "ConfidenceOnBackgrounds", "Insertion", "Deletion"]

every_class = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def value(metric: Any) -> float:
    found = metric.compute()
    assert (found.dtype, found.shape) == (torch.float64, ())
    return float(found)


def not_found() -> SufficientExplanation:
    """A class that is never the answer has no sufficient explanation."""
    sample = samples(1)[0]
    other = (sample.target + 1) % CLASSES
    model = nn.Sequential(MODEL, nn.Linear(CLASSES, CLASSES, bias=False)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
    found = sufficient_explanation(
        model, sample.x, sample.attribution, other, baseline="zero", allow_other_target=True, step=10
    )
    assert not found.found
    return found


def test_every_class_is_among_these_cases():
    exported = {getattr(captum_ad.metrics, name) for name in captum_ad.metrics.__all__}
    classes = {one for one in exported if isinstance(one, type) and issubclass(one, Metric)}
    assert classes == {case.kind for case in CASES.values()}


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
        case, measured = CASES[name], samples(4, forward=MODEL)
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
            found = sufficient_explanation(AD, sample.x, sample.attribution, sample.target, 0.5)
            given = {**sample.given(*case.takes), "explanation": found}
            metric.update(**given)
            masks.append(Sample(sample.x, found.mask, sample.attribution, sample.target))
        assert value(metric) == pytest.approx(case.expected(masks), rel=1e-12)

    @pytest.mark.parametrize("name", ["RhoRobustness", "ConfidenceOnBackgrounds"])
    def test_backgrounds_that_were_drawn_already(self, name):
        case, (sample,) = CASES[name], samples(1)
        backgrounds = Backgrounds(lambda start, stop: torch.rand(2, HEIGHT, WIDTH).expand(stop - start, -1, -1, -1), 5)
        drawn = SolidColors(n=20, seed=8).draw(MODEL, sample.x, sample.target)
        metric = case.make(contexts=None)  # nothing is drawn from these
        metric.update(**sample.given(*PLANTED), backgrounds=drawn)
        assert value(metric) == pytest.approx(case.expected([sample], contexts=drawn), rel=1e-12)
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
        contexts = SolidColors(n=40, seed=5)
        colours = contexts.draw(model, x, 1).batch(0, 40)[:, 0, 0, 0].double()
        right, wrong = torch.tensor([[True, False], [False, False]]), torch.tensor([[False, True], [True, True]])
        first, last = torch.tensor([[4.0, 3], [2, 1]]), torch.tensor([[1.0, 3], [2, 4]])
        rise = 0.125 * (high - low)  # the trapezoid of the step at which the pixel appears, less its rectangle
        expected = {
            RhoRobustness(contexts): (right, wrong, (1 + (colours > 0.5).double().mean()) / 2),
            ConfidenceOnBackgrounds(contexts): (right, wrong, (high + (4 * colours - 2).sigmoid().mean()) / 2),
            ExplanationSize(): (right, wrong, 0.5),
            ConfidenceKept(baseline="zero"): (right, wrong, (high + low) / 2),
            ConfidenceDropOff(baseline="zero"): (right, wrong, (0 + (high - low) / high) / 2),
            Insertion(baseline="zero", step=1): (first, last, (high - rise + low + rise) / 2),
            Deletion(baseline="zero", step=1): (first, first, low + rise),
        }
        assert {type(metric) for metric in expected} == {case.kind for case in CASES.values()}
        for metric, (one, other, mean) in expected.items():
            for what in (one, other):
                given = (x, what) if isinstance(metric, ExplanationSize) else (model, x, what, 1)
                metric.update(*given)
            assert value(metric) == pytest.approx(float(mean), abs=1e-6), type(metric).__name__


class TestDirection:
    def test_a_better_explanation_is_better_by_every_metric_as_it_says_itself(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [4, 0, 0, 0]]))
            model[1].bias.copy_(torch.tensor([2.0, 0]))
        x = torch.ones(1, 1, 2, 2)
        good = Sample(
            x, torch.tensor([[True, False], [False, False]]), torch.tensor([[4.0, 3], [2, 1]]), 1, model, model
        )
        bad = Sample(x, torch.tensor([[False, True], [True, True]]), torch.tensor([[1.0, 3], [2, 4]]), 1, model, model)
        for case in CASES.values():
            painted = {"baseline": "zero"} if "forward" in case.takes else {}
            better, worse = (value(case.fed([sample], **painted)) for sample in (good, bad))
            assert better != worse
            assert case.kind.higher_is_better == (better > worse), case.name

    def test_declared(self):
        lower = {"ExplanationSize", "ConfidenceDropOff", "Deletion"}
        assert {name for name, case in CASES.items() if case.kind.higher_is_better is False} == lower
        assert {name for name, case in CASES.items() if case.kind.higher_is_better is True} == set(CASES) - lower

    @every_class
    def test_not_differentiable(self, case):
        assert case.kind.is_differentiable is False
        (sample,) = samples(1)
        sample.x.requires_grad_()
        metric = case.make()
        for found in (metric(**sample.given(*case.takes)), metric.compute()):
            assert not found.requires_grad


@every_class
class TestState:
    def test_nothing_measured_is_nan_with_a_warning(self, case):
        with pytest.warns(UserWarning, match=r"called before the ``update``"):
            found = case.make().compute()
        assert found.isnan()

    def test_reset(self, case):
        metric, measured = case.fed(samples(3)), samples(2)
        value(metric)
        for _ in range(2):  # what it is reset to was not added to either
            metric.reset()
            assert metric.count == 0
            assert value(case.fed(measured, metric)) == pytest.approx(case.expected(measured), rel=1e-12)

    def test_two_of_a_kind_have_nothing_in_common(self, case):
        one, other = case.make(), case.make()
        case.fed(samples(3), one)
        assert value(case.fed(samples(1), other)) == pytest.approx(case.expected(samples(1)), rel=1e-12)

    def test_compute_in_between(self, case):
        metric, measured = case.make(), samples(3)
        for n in range(1, 4):
            case.fed(measured[n - 1 : n], metric)
            for _ in range(2):
                assert value(metric) == pytest.approx(case.expected(measured[:n]), rel=1e-12)

    def test_a_call_gives_the_value_of_one_and_adds_it(self, case):
        metric, measured = case.make(), samples(3)
        for sample in measured:
            found = metric(**sample.given(*case.takes))
            assert float(found) == pytest.approx(case.expected([sample]), rel=1e-12)
        assert value(metric) == pytest.approx(case.expected(measured), rel=1e-12)

    @pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.clone(), copy.deepcopy])
    def test_copies_go_on_from_there_on_their_own(self, case, copied):
        measured, others = samples(4), {**case.others}
        metric = case.fed(measured[:2], **others)
        twin = copied(metric)
        assert value(twin) == value(metric)
        case.fed(measured[2:], twin)
        assert value(twin) == pytest.approx(case.expected(measured, **others), rel=1e-12)
        assert value(metric) == pytest.approx(case.expected(measured[:2], **others), rel=1e-12)

    def test_merged_states(self, case):
        measured = samples(5)
        one, other = case.fed(measured[:2]), case.fed(measured[2:])
        one.merge_state(other)
        assert value(one) == pytest.approx(case.expected(measured), rel=1e-12)

    def test_saved_and_loaded_if_asked_for(self, case):
        metric = case.fed(samples(3))
        assert not metric.state_dict()
        metric.persistent(True)
        saved = metric.state_dict()
        assert {tuple(number.shape) for number in saved.values()} == {()}  # sums, and nothing of the model
        loaded = case.make()
        loaded.persistent(True)
        loaded.load_state_dict(saved)
        loaded.update(**samples(1)[0].given(*case.takes))
        metric.update(**samples(1)[0].given(*case.takes))
        assert value(loaded) == value(metric)

    @pytest.mark.parametrize("cast", ["half", "float", "double", "bfloat16"])
    def test_casts_of_a_model_that_it_is_part_of_leave_its_precision(self, case, cast):
        whole = nn.ModuleList([case.fed(samples(3))])
        before = value(whole[0])
        getattr(whole, cast)()
        assert value(whole[0]) == before

    def test_another_device(self, case):
        metric = case.fed(samples(2)).to("meta")
        assert metric.total.is_meta
        case.fed(samples(2), metric)  # whose forwards are on the CPU
        assert metric.compute().is_meta
        assert not any(parameter.is_meta for parameter in MODEL.parameters())

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_the_metric_may_be_on_another_device_than_the_model(self, case):
        metric = case.fed(samples(3), case.make().cuda())
        assert metric.compute().is_cuda
        assert value(metric) == pytest.approx(case.expected(samples(3)), rel=1e-12)


def test_many_updates_are_all_counted():
    metric = ExplanationSize()
    x, mask = torch.rand(1, 1, 1, 10), torch.arange(10) < 1
    metric.half()
    for _ in range(2100):  # half precision counts to 2048
        metric.update(x, mask[None])
    assert value(metric) == pytest.approx(0.1, rel=1e-9)


@every_class
class TestTheModelIsNoPartOfIt:
    def test_it_is_neither_saved_nor_listed(self, case):
        metric = case.fed(samples(2))
        metric.persistent(True)
        assert list(metric.modules()) == [metric]
        assert not list(metric.parameters())
        assert not list(metric.buffers())
        assert all(number.dim() == 0 for number in metric.state_dict().values())

    def test_it_is_not_switched_moved_cast_or_changed(self, case):
        before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
        metric = case.fed(samples(2))
        metric.train()
        metric.double()
        metric.set_dtype(torch.float64)
        metric.to("meta")
        assert not any(module.training for module in (*MODEL.modules(), AD))
        for name, tensor in MODEL.state_dict().items():
            assert tensor.dtype == before[name].dtype
            assert torch.equal(tensor, before[name])

    def test_a_metric_in_train_mode_measures_the_same(self, case):
        assert value(case.fed(samples(2), case.make().train())) == pytest.approx(case.expected(samples(2)), rel=1e-12)

    def test_nothing_of_an_update_is_kept_alive(self, case):
        model = network()
        (one,) = samples(1)
        sample = Sample(one.x, one.explanation, one.attribution, one.target, model, ADForward(model))
        metric = case.make()
        metric(**sample.given(*case.takes))
        metric.compute()
        held = [weakref.ref(part) for part in (model, sample.forward, sample.x, sample.explanation, sample.attribution)]
        del model, one, sample
        assert [part() for part in held] == [None] * 5


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
        with pytest.raises(ValueError, match="explain one at a time"):
            getattr(metric, call)(**{**measured[0].given(*case.takes), "x": torch.rand(2, 2, HEIGHT, WIDTH)})
        assert value(metric) == pytest.approx(case.expected(measured), rel=1e-12)

    @every_class
    def test_it_is_still_reduced_across_processes(self, case):
        metric = case.fed(samples(1))
        reduced = metric._to_sync, metric._should_unsync
        with pytest.raises(ValueError, match="explain one at a time"):
            metric(**{**samples(1)[0].given(*case.takes), "x": torch.rand(2, 2, HEIGHT, WIDTH)})
        assert (metric._to_sync, metric._should_unsync) == reduced

    @pytest.mark.parametrize("name", [name for name in CASES if name != "ExplanationSize"])
    def test_a_model_in_train_mode(self, name):
        case, model = CASES[name], network().train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        (one,) = samples(1)
        sample = Sample(one.x, one.explanation, one.attribution, one.target, model, ADForward(model))
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
            case.fed(samples(1, forward=MODEL))


def whole(sample: Sample) -> Sample:
    """The explanation that takes everything: ρ 1, size 1."""
    return Sample(sample.x, torch.ones_like(sample.explanation), sample.attribution, sample.target)


class TestCollection:
    """In a MetricCollection, which passes each metric the keyword arguments that its update takes."""

    given = staticmethod(lambda sample: sample.given("model", "forward", "x", "explanation", "attribution", "target"))

    @pytest.mark.parametrize("call", ["update", "forward"])
    def test_all_classes_at_once(self, call):
        collection = MetricCollection({name: case.make() for name, case in CASES.items()}, compute_groups=False)
        measured = samples(3)
        for sample in measured:
            getattr(collection, call)(**self.given(sample))
        for name, found in collection.compute().items():
            assert float(found) == pytest.approx(CASES[name].expected(measured), rel=1e-12)

    def test_positions_where_signatures_agree(self):
        collection = MetricCollection([RhoRobustness(COLOURS), ConfidenceOnBackgrounds(COLOURS)], compute_groups=False)
        for sample in samples(3):
            collection.update(*sample.given(*PLANTED).values())
        assert set(collection.compute()) == {"RhoRobustness", "ConfidenceOnBackgrounds"}
        for name, found in collection.compute().items():
            assert float(found) == pytest.approx(CASES[name].expected(samples(3)), rel=1e-12)

    @pytest.mark.parametrize("call", ["update", "forward"])
    def test_metrics_that_once_agree_stay_apart(self, call):
        # Which torchmetrics looks at after the first update, to run only one of those that agree from then on.
        measured = [whole(samples(1)[0]), *samples(3)]
        others = SolidColors(n=11, seed=4)
        apart = {
            "K1": (CASES["RhoRobustness"], {}),
            "K2": (CASES["RhoRobustness"], {"contexts": others}),
            "size": (CASES["ExplanationSize"], {}),
        }
        collection = MetricCollection({name: case.make(**settings) for name, (case, settings) in apart.items()})
        for sample in measured:
            getattr(collection, call)(**self.given(sample))
        expected = {name: case.expected(measured, **settings) for name, (case, settings) in apart.items()}
        assert len({round(mean, 6) for mean in expected.values()}) == 3
        assert {name: float(found) for name, found in collection.compute().items()} == pytest.approx(expected)

    def test_reset_and_clone(self):
        collection = MetricCollection({name: case.make() for name, case in CASES.items()}, compute_groups=False)
        collection.update(**self.given(samples(1)[0]))
        twin = collection.clone(prefix="val/")
        collection.reset()
        measured = samples(2)
        for sample in measured:
            collection.update(**self.given(sample))
        for name, case in CASES.items():
            assert float(collection.compute()[name]) == pytest.approx(case.expected(measured), rel=1e-12)
            assert float(twin.compute()[f"val/{name}"]) == pytest.approx(case.expected(samples(1)), rel=1e-12)


def parts_of(name: str) -> list[int]:
    """How many of five samples the first process measures; none may be left for the other."""
    return [3, 1, 5, 0] if name == "ExplanationSize" else [3, 1]


def measure_a_part(rank: int, folder: str) -> None:
    """One of two processes: measure some of the samples, and write down what it is told of all."""
    where = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    found = {}
    try:
        for name, case in CASES.items():
            for part in parts_of(name):
                measured = samples(5)[:part] if rank == 0 else samples(5)[part:]
                metric = case.fed(measured, **case.others)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that a process without a sample of its own was not updated
                    together = float(metric.compute())
                metric.update(**samples(1)[0].given(*case.takes))  # added to its own part, not to the whole
                found[f"{name} {part}"] = together, int(metric.count) - len(measured)
    finally:
        dist.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


def measure_the_other_part(index: int, folder: str) -> None:
    torch.set_num_threads(1)
    measure_a_part(1 + index, folder)


def test_two_processes_find_together_what_one_finds_alone(tmp_path):
    other_process = torch.multiprocessing.spawn(measure_the_other_part, (str(tmp_path),), nprocs=1, join=False)
    measure_a_part(0, str(tmp_path))
    other_process.join()
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one == other
    for name, case in CASES.items():
        expected = case.expected(samples(5), **case.others)
        for part in parts_of(name):
            assert one[f"{name} {part}"] == [pytest.approx(expected, rel=1e-9), 1]


class TestExports:
    def test_everything_that_is_listed_is_there(self):
        exported: dict[str, Any] = {}
        exec("from captum_ad.metrics import *", exported)
        assert set(captum_ad.metrics.__all__) <= set(exported)
        assert len(set(captum_ad.metrics.__all__)) == len(captum_ad.metrics.__all__)

    @pytest.mark.parametrize("name", ["Rho", "modular_", "__wrapped__", "needed_by_nobody"])
    def test_nothing_else_is(self, name):
        assert not hasattr(captum_ad.metrics, name)
        with pytest.raises(AttributeError, match=rf"'captum_ad\.metrics' has no attribute '{name}'"):
            getattr(captum_ad.metrics, name)

    def test_the_classes_are_those_of_the_module(self):
        from captum_ad.metrics import modular

        for name, case in CASES.items():
            assert getattr(captum_ad.metrics, name) is getattr(modular, name) is case.kind


WITHOUT = """
import json, sys

for package in "torchmetrics pandas scipy scipy.stats statsmodels cv2 skimage pyarrow".split():
    sys.modules[package] = None  # as if it were not installed

import torch
import captum_ad.metrics
from captum_ad.baselines import inpaint

outcomes = {}


def outcome(name, function):
    try:
        found = function()
        outcomes[name] = ["", "", found if isinstance(found, (bool, float)) else ""]
    except Exception as error:
        outcomes[name] = [type(error).__name__, str(error), ""]


def from_import():
    from captum_ad.metrics import RhoRobustness


metrics = captum_ad.metrics
for name in metrics.__all__:
    outcome(name, lambda: getattr(metrics, name))
    outcome(name + " again", lambda: getattr(metrics, name))
outcome("from import", from_import)
outcome("module", lambda: __import__("captum_ad.metrics.modular"))
outcome("hasattr", lambda: hasattr(metrics, "nothing_of_this_name"))

calls = []
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
model.register_forward_pre_hook(lambda *given: calls.append(1))
x, mask = torch.rand(1, 3, 2, 2), torch.ones(2, 2, dtype=torch.bool)
outcome("call compare", lambda: metrics.compare(model, x, contexts={"K1": metrics.SolidColors(n=2)}))
outcome("compare ran the model", lambda: bool(calls))
outcome("call summarise", lambda: metrics.summarise(None))
outcome("call significance", lambda: metrics.significance(None))
outcome("call inpaint", lambda: inpaint(x, mask[None, None]))
outcome("call inpaint by name", lambda: metrics.confidence_kept(model, x, ~mask, 0, baseline="inpaint"))
outcome("call superpixels", lambda: metrics.present_masks(x, [0.5], "superpixels"))
outcome("rho", lambda: metrics.rho_robustness(model, x, mask, int(model(x).argmax()), metrics.SolidColors(n=2)).rho)
outcome("missingness", lambda: metrics.missingness_curve(model, x, [0], baseline="zero").area)
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str, str, Any]]:
    return json.loads(subprocess.check_output([sys.executable, "-c", WITHOUT], text=True))


class TestWithoutOptionalPackages:
    @pytest.mark.parametrize("name", [*CASES, *(f"{name} again" for name in CASES), "from import", "module"])
    def test_the_classes_say_what_to_install(self, outcomes, name):
        kind, message, _ = outcomes[name]
        assert kind == "ImportError"
        assert message == 'this needs torchmetrics: pip install "captum_ad[metrics]"'

    @pytest.mark.parametrize("name", sorted(set(captum_ad.metrics.__all__) - set(CASES)))
    def test_all_else_is_there(self, outcomes, name):
        assert outcomes[name][0] == ""

    @pytest.mark.parametrize(
        ("name", "package", "extra"),
        [
            ("call compare", "pandas", "metrics"),
            ("call summarise", "pandas", "metrics"),
            ("call significance", "(pandas|scipy)", "metrics"),
            ("call inpaint", "OpenCV", "inpaint"),
            ("call inpaint by name", "OpenCV", "inpaint"),
            ("call superpixels", "scikit-image", "superpixels"),
        ],
    )
    def test_functions_say_what_to_install_when_they_are_called(self, outcomes, name, package, extra):
        kind, message, _ = outcomes[name]
        assert kind == "ImportError"
        assert re.search(rf'needs? {package}: pip install "captum_ad\[{extra}\]"', message)

    def test_a_comparison_that_cannot_be_recorded_is_not_begun(self, outcomes):
        assert outcomes["compare ran the model"][2] is False

    def test_names_that_do_not_exist_are_none(self, outcomes):
        assert outcomes["hasattr"] == ["", "", False]

    def test_functions_work_without(self, outcomes):
        assert outcomes["rho"] == ["", "", 1.0]
        assert outcomes["missingness"][0] == ""
        assert 0 <= outcomes["missingness"][2] <= 1
