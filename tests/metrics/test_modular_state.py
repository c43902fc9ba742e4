"""The state of the metrics, whatever torchmetrics does with it: copies, casts, collections, several processes."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
import weakref
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torchmetrics import MetricCollection

from captum_ad import ADForward
from captum_ad.metrics import ConfidenceOnBackgrounds, ExplanationSize, RhoRobustness, SolidColors
from tests.metrics.modular import AD, CASES, COLORS, MODEL, PLANTED, Sample, every_class, network, samples, value


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
        sample = Sample(one.inputs, one.explanation, one.attribution, one.target, model, ADForward(model))
        metric = case.make()
        metric(**sample.given(*case.takes))
        metric.compute()
        held = [
            weakref.ref(part)
            for part in (model, sample.forward_func, sample.inputs, sample.explanation, sample.attribution)
        ]
        del model, one, sample
        assert [part() for part in held] == [None] * 5


def whole(sample: Sample) -> Sample:
    """The explanation that takes everything: ρ 1, size 1."""
    return Sample(sample.inputs, torch.ones_like(sample.explanation), sample.attribution, sample.target)


EVERYTHING = ("model", "forward_func", "inputs", "explanation", "attribution", "target", "inside", "cell")


class TestCollection:
    """In a MetricCollection, which passes each metric the keyword arguments that its update takes."""

    given = staticmethod(lambda sample: sample.given(*EVERYTHING))

    @pytest.mark.parametrize("call", ["update", "forward"])
    def test_all_classes_at_once(self, call):
        collection = MetricCollection({name: case.make() for name, case in CASES.items()}, compute_groups=False)
        measured = samples(3)
        for sample in measured:
            getattr(collection, call)(**self.given(sample))
        for name, found in collection.compute().items():
            assert float(found) == pytest.approx(CASES[name].expected(measured), rel=1e-12)

    def test_positions_where_signatures_agree(self):
        collection = MetricCollection([RhoRobustness(COLORS), ConfidenceOnBackgrounds(COLORS)], compute_groups=False)
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
            "K2": (CASES["RhoRobustness"], {"backgrounds": others}),
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


@pytest.mark.slow
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
