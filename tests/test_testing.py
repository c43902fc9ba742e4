"""check_model passes what works, and of what is broken it names the property, the module and the operation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, FeatureMask, MaskRule, register_rule
from captum_ad.engine import Interpreter
from captum_ad.testing import Check, Report, check_model
from captum_ad.testing.model import growing_masks
from tests.engine.test_unchanged import assert_unchanged, snapshot
from tests.networks import Apply, inputs, networks, rules, taus

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
RULES, THEOREM, MISSING = "every operation has a rule", "Theorem 1", "missing means missing"
MONOTONE, LOST, BATCHES = "monotone masks", "no lost masks", "batches do not mix"


def network(suspect: nn.Module | Callable[[Tensor], Tensor] = F.relu, rule: Any = None) -> nn.Module:
    """With a module that the tests break: by what it does, or by a rule for its type."""

    class Suspect(nn.Module):  # one of its own each time, as a type is marked when it gets a rule
        def forward(self, x: Tensor) -> Tensor:
            return suspect(x)

    if rule is not None:
        register_rule(Suspect)(rule)
    torch.manual_seed(0)
    part = suspect if isinstance(suspect, nn.Module) else Suspect()
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), part, nn.Conv2d(4, 4, 3, padding=1))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def check(model: nn.Module, x: Tensor = X, **settings: Any) -> Report:
    """Without growth, so that masks are still there at the suspect."""
    before = snapshot(model)
    report = check_model(ADForward(model, "no-growth"), x, verbose=False, **settings)
    assert_unchanged(model, before)
    return report


def assert_fails(
    report: Report, *names: str, operation: str = "forward", kind: str = "Suspect", words: str = ""
) -> None:
    """These checks and no others, and all of them because of the suspect."""
    assert not report
    assert tuple(check.name for check in report.failures) == names, report
    for failure in report.failures:
        assert (failure.module, failure.operation) == ("0.2", operation), report
        assert failure.module_type == kind
        assert words in failure.detail


# What works


class OneSample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).reshape(1, -1))


def test_a_model_for_one_sample() -> None:
    report = check_model(OneSample().eval(), torch.randn(1, 3, 8, 8), verbose=False)
    assert report
    assert "takes no 2 samples" in report["Theorem 1"].detail
    assert report["batches do not mix"].passed is None
    assert "takes no 4 samples" in report["batches do not mix"].detail
    assert "no check failed" in str(report)
    assert "not tried, as the model takes no 4 samples" in str(report)


def test_a_model_whose_batches_are_refused() -> None:
    """One sample has a rule, and two of them are mixed by a product, which has none."""

    def mixed(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return x * (flat @ flat.T).mean(1)[:, None, None, None]

    report = check_model(network(mixed), X[:1], verbose=False)
    assert {failure.name for failure in report.failures} == {"Theorem 1", "batches do not mix"}
    assert all("mixes the samples of a batch" in failure.detail for failure in report.failures)


def test_a_model_of_inference_tensors() -> None:
    with torch.inference_mode():
        model = network().eval()
    before = copy.deepcopy(model.state_dict())
    assert check_model(model, X, verbose=False)
    assert all(map(torch.equal, model.state_dict().values(), before.values()))


@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_network_that_works(rule: str, dtype: torch.dtype) -> None:
    report = check_model(ADForward(network().to(dtype), rule, tau=0.2), X.to(dtype), verbose=False)
    assert report.passed
    assert report
    assert not report.failures
    assert len(report.checks) == 8
    assert all(check.passed for check in report.checks)


@settings(max_examples=15)
@given(networks(), inputs(), rules(), taus())
def test_networks_of_all_kinds(model: nn.Module, x: Tensor, rule: MaskRule, tau: float) -> None:
    report = check_model(ADForward(model, rule, tau=tau), x, masks=2, verbose=False)
    # A network whose last map has nothing left can be the same under every mask.
    assert all("does not depend on them" in failure.detail for failure in report.failures), report


@pytest.mark.parametrize("dims", [1, 3])
def test_other_ranks(dims: int) -> None:
    conv, pool = (nn.Conv1d, nn.AdaptiveMaxPool1d) if dims == 1 else (nn.Conv3d, nn.AdaptiveMaxPool3d)
    model = nn.Sequential(conv(2, 4, 3), nn.SiLU(), pool(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    assert check_model(model, torch.randn(1, 2, *[7] * dims), verbose=False)


def test_a_rule_of_ones_own_that_is_right() -> None:
    @register_rule("cumsum")
    def cumsum(ad: Interpreter, op: Any, x: Tensor, dim: int) -> Tensor:
        kept = ad.mask(x).kept.expand(x.shape)
        return ad.emit(op(ad.deactivate(x), dim), FeatureMask(kept.cumsum(dim) > 0))

    assert check(network(lambda x: x.cumsum(2)))


# What stops


def test_train_mode() -> None:
    model = network().train()
    before = snapshot(model)
    with torch.no_grad():
        report = check_model(model, X, verbose=False)
    assert_unchanged(model, before)
    assert not report
    assert [check.passed for check in report.checks] == [False, *[None] * 7]
    assert report["eval mode"].module == "0.1"  # the BatchNorm, which is what does harm
    assert "like 8 more" in report["eval mode"].detail
    assert "model.eval()" in report["eval mode"].detail
    only = network()
    only[0][1].training = True
    failed = check_model(only, X, verbose=False)["eval mode"]
    assert (failed.module, failed.module_type) == ("0.1", "BatchNorm2d")
    assert "more" not in failed.detail
    around = nn.Sequential(network())
    around.training = True
    failed = check_model(around, X, verbose=False)["eval mode"]
    assert (failed.module, failed.place) == ("", "the model itself (Sequential)")


class TopThree(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.topk(3, 3)[0]


STOPPING: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "no rule": (lambda x: x.cumsum(2), "cumsum", "register_rule"),
    "numpy and back": (lambda x: torch.from_numpy(x.detach().numpy().copy()), "numpy", "register_rule"),
    "an autograd function": (TopThree.apply, "topk", "register_rule"),
}


@pytest.mark.parametrize("name", STOPPING)
def test_what_cannot_be_followed(name: str) -> None:
    function, operation, words = STOPPING[name]
    report = check(network(function))
    assert_fails(report, RULES, operation=operation, words=words)
    assert report[THEOREM].passed is None


def test_a_rule_that_stops() -> None:
    assert_fails(
        check(network(rule=lambda ad, op, x: op(x))),
        RULES,
        words="TypeError: the rule for Suspect.forward returned a tensor without",
    )
    assert_fails(check(network(rule=lambda ad, op, x: 1 / 0)), RULES, words="ZeroDivisionError")


def test_a_rule_that_stops_at_nan_only() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise RuntimeError("a NaN")
        return ad.emit(op(x), ad.mask(x))

    assert_fails(check(network(rule=rule)), MISSING, words="RuntimeError: a NaN")


def test_torchscript() -> None:
    failed = check_model(torch.jit.trace(network(), X), X, verbose=False)[RULES]
    assert "TorchScript" in failed.detail
    assert failed.module is None
    assert failed.place == ""


# What gives wrong answers


def test_random() -> None:
    torch.manual_seed(0)
    report = check(network(lambda x: F.dropout(x, 0.5, training=True)))
    assert_fails(report, "repeatable", operation="dropout")
    assert report[RULES].passed is None


class Counts(nn.Module):
    """Changes with each call, and remembers things."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen: list[Any] = []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.count = self.count + 1
        self.seen.append(x)
        self.last = x
        return x + self.calls


def test_state_is_named_and_put_back() -> None:
    suspect = Counts()
    model = network(suspect)
    count, random = suspect.count, torch.get_rng_state()
    report = check_model(model, X, verbose=False)
    assert_fails(report, "repeatable", operation="add", kind="Counts")
    assert suspect.calls == 0
    assert suspect.seen == []
    assert suspect.count is count
    assert float(count) == 0
    assert not hasattr(suspect, "last")
    assert torch.equal(torch.get_rng_state(), random)


def test_nothing_is_changed() -> None:
    model, x = network(), X.clone().requires_grad_()
    before, random = snapshot(model), torch.get_rng_state()
    ad = ADForward(model)
    check_model(ad, x, verbose=False)
    assert_unchanged(model, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, X)
    assert not vars(x)
    assert torch.is_grad_enabled()


def test_state_is_put_back_after_an_exception() -> None:
    class Stops(Counts):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if self.calls == 2:
                raise KeyboardInterrupt
            return out

    suspect = Stops()
    with pytest.raises(KeyboardInterrupt):
        check_model(network(suspect), X, verbose=False)
    assert (suspect.calls, suspect.seen, float(suspect.count)) == (0, [], 0)


def test_a_mask_lost() -> None:
    assert_fails(check(network(rule=lambda ad, op, x: ad.emit(op(x), None))), MISSING, LOST)


def test_a_mask_lost_over_zeros() -> None:
    assert_fails(
        check(network(rule=lambda ad, op, x: ad.emit(op(ad.deactivate(x)), None))), LOST, words="drops the mask"
    )


def cumulated(operand: Callable[[Interpreter, Tensor], Tensor]) -> Report:
    @register_rule("cumsum")
    def rule(ad: Interpreter, op: Any, x: Tensor, dim: int) -> Tensor:
        kept = ad.mask(x).kept.expand(x.shape)
        return ad.emit(op(operand(ad, x), dim), FeatureMask(kept.cumsum(dim) > 0))

    return check(network(lambda x: x.cumsum(2)))


def test_times_zero_instead_of_a_selection() -> None:
    report = cumulated(lambda ad, x: x * ad.mask(x).kept)
    assert_fails(report, MISSING, operation="cumsum", words="lets nan at deactivated positions")


def test_no_checkpoint_before_positions_are_mixed() -> None:
    assert_fails(cumulated(lambda ad, x: x), MISSING, operation="cumsum", words="ad.deactivate(x)")


def test_nan_that_is_caught_but_large_values_are_not() -> None:
    assert_fails(
        cumulated(lambda ad, x: x.where(ad.mask(x).kept | (x.abs() > 100), 0)),
        MISSING,
        operation="cumsum",
        words="lets 1e+30",
    )


def test_said_to_be_clean_and_is_not() -> None:
    report = check(network(torch.sigmoid, lambda ad, op, x: ad.emit(op(x), ad.mask(x), clean=True)))
    assert [failure.name for failure in report.failures] == [MISSING]
    assert report[MISSING].module == "0.3"  # who reads it


def test_nan_made_of_nothing() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        mask = ad.mask(x)
        count = mask.kept.expand(x.shape).sum((2, 3), keepdim=True)
        return ad.emit(ad.deactivate(x).sum((2, 3), keepdim=True) / count, FeatureMask(torch.ones_like(count) > 0))

    report = check(network(lambda x: x.mean((2, 3), keepdim=True), rule))
    assert_fails(report, MISSING, words="NaN or Inf")


def test_a_mask_that_shrinks() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        kept = ad.mask(x).kept
        count = kept.sum((1, 2, 3), keepdim=True)
        return ad.emit(op(x), FeatureMask(kept & ((count < 40) | (count == 64))))

    assert_fails(check(network(rule=rule)), MONOTONE, words="grow")


def test_a_model_that_does_something_else_under_a_mask() -> None:
    @register_rule("item")
    def item(ad: Interpreter, op: Any, x: Tensor) -> float:
        return float(op(x))

    report = check(network(lambda x: x.sigmoid() if x.abs().amax((0, 1, 2, 3)).item() < 0.5 else x.relu()))
    assert MONOTONE in [failure.name for failure in report.failures], report
    assert report[MONOTONE].module == "0.2"
    assert "does not run under every mask" in report[MONOTONE].detail


def test_a_model_that_mixes_samples_by_itself() -> None:
    assert_fails(check(network(lambda x: x - x.mean(0, keepdim=True))), THEOREM, BATCHES, operation="sub")


@pytest.mark.parametrize("samples", [1, 2])
def test_a_block_that_mixes_samples(samples: int) -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        return ad.emit(op(ad.deactivate(x)), ad.mask(x))

    report = check(network(lambda x: x - x.mean(0, keepdim=True), rule), X[:samples])
    assert_fails(report, THEOREM, BATCHES)
    assert f"among {4 * samples}" in report[BATCHES].detail


def test_samples_are_compared_where_windows_are_merged_into_the_batch() -> None:
    def windows(x: Tensor) -> Tensor:
        x = x.unflatten(2, (2, 4)).movedim(2, 1).flatten(0, 1)
        return x.unflatten(0, (-1, 2)).movedim(1, 2).flatten(2, 3)

    assert check(network(windows))


def test_whole_samples_that_feel_the_mask_of_others() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        return ad.emit(op(x) + ad.mask(x).kept.float().mean(), ad.mask(x))

    assert_fails(check(network(rule=rule)), THEOREM, BATCHES)


def test_an_output_that_does_not_depend_on_the_mask() -> None:
    model = network()
    nn.init.zeros_(model[3].weight)
    report = check(model)
    assert [failure.name for failure in report.failures] == [LOST]
    assert "nor does it depend on the input" in report[LOST].detail
    assert report[LOST].module is None


def test_a_rule_whose_result_has_nothing_of_the_input() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        return ad.emit(torch.ones(len(x), 4, 1, 1), None)

    report = check(network(lambda x: x.mean((2, 3), keepdim=True), rule))
    assert [failure.name for failure in report.failures] == [THEOREM]


# What the engine promises, were it broken


def test_an_engine_that_lets_the_input_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captum_ad.engine.interpreter.zeroed", lambda x, mask: x.clone())
    failed = check(network())[MISSING]
    assert failed.passed is False
    assert failed.module == "0.0"
    assert "the input's values at masked positions" in failed.detail


class Adds(ADForward):
    """Not Theorem 1."""

    where: str = "none"

    def forward(self, *inputs: Any, mask: Any = None, **kwargs: Any) -> Tensor:
        out = super().forward(*inputs, mask=mask, **kwargs)
        whole = mask is None and not inputs[0].isnan().any()
        named = {"none": whole, "full": mask is not None and bool(mask.all()), "nan": mask is None and not whole}
        return out + 1e-6 * out if named[self.where] else out


@pytest.mark.parametrize(("where", "name"), [("none", THEOREM), ("full", THEOREM), ("nan", MISSING)])
def test_an_adforward_that_is_not_the_model(where: str, name: str) -> None:
    ad = Adds(network(), "no-growth")
    ad.where = where
    report = check_model(ad, X, verbose=False)
    assert [failure.name for failure in report.failures] == [name]


# Masks


def test_masks_grow_and_come_from_the_seed() -> None:
    x = torch.zeros(3, 1, 16, 10)
    masks = growing_masks(x, 3, seed=5)
    assert [mask.shape for mask in masks] == [(3, 16, 10)] * 3
    for small, large in pairwise(masks):
        assert not (small & ~large).any()
        assert (small.sum((1, 2)) < large.sum((1, 2))).all()
    assert all(0 < mask.double().mean() < 1 for mask in masks)
    assert not torch.equal(masks[1][0], masks[1][1])
    assert all(map(torch.equal, masks, growing_masks(x, 3, seed=5)))
    assert not torch.equal(masks[1], growing_masks(x, 3, seed=6)[1])


def test_a_seed_finds_the_same() -> None:
    assert str(check(network(), seed=3)) == str(check(network(), seed=3))
    assert "4 masks, seed 3" in str(check(network(), masks=4, seed=3))


# What is said


def test_it_prints_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    report = check_model(network(), X)
    assert capsys.readouterr().out == f"{report}\n"
    check_model(network(), X, verbose=False)
    assert capsys.readouterr().out == ""


def test_the_verdict_is_aligned_and_says_what_to_do() -> None:
    first, *lines = str(check(network(lambda x: x.cumsum(2)))).splitlines()
    assert first == "Sequential, no-growth, 3 masks, seed 0: NOT all checks passed"
    heads = [line for line in lines if line[2] != " "]
    assert [line[2] for line in heads] == list("✓✓✗–––––")
    column = lines[0].index("every module")
    assert all(line[:column].rstrip() == "" for line in lines if line not in heads)
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    assert all(len(line) <= 118 for line in lines)
    text = " ".join(" ".join(lines).split())
    assert (
        "✗ every operation has a rule operation torch.Tensor.cumsum, called in module '0.2' (Suspect), has no" in text
    )
    assert "Register a rule" in text
    text = " ".join(str(check(network(rule=lambda ad, op, x: ad.emit(op(x), None)))).split())
    assert "✗ no lost masks module '0.2' (Suspect), operation forward: makes active positions" in text


def test_places_in_words() -> None:
    assert Check("a", True).place == ""
    assert Check("a", False, "", "", "Net", "add").place == "the model itself (Net), operation add"
    assert Check("a", False, "", "body", "Block").place == "module 'body' (Block)"


def test_an_unknown_check() -> None:
    with pytest.raises(ValueError, match="unknown check 'Theorem': did you mean 'Theorem 1'"):
        check(network())["Theorem"]


@pytest.mark.parametrize("x", [X.long(), X[0, 0], X * math.nan, X / 0, X[:0], "X"])
def test_unsuitable_inputs(x: Any) -> None:
    with pytest.raises(ValueError, match=r"x must be a batch|x holds NaN or Inf"):
        check_model(network(), x)


@pytest.mark.parametrize("masks", [0, -1, 2.0, True])
def test_unsuitable_masks(masks: Any) -> None:
    with pytest.raises(ValueError, match="masks must be"):
        check_model(network(), X, masks=masks)


def test_unsuitable_outputs() -> None:
    with pytest.raises(ValueError, match=r"shape \(\) for 2 samples"):
        check_model(Apply(lambda x: x.sum()).eval(), X)
    model = Apply(lambda x, net: {"out": net(x)}, network()).eval()
    with pytest.raises(TypeError, match="pass select="):
        check_model(model, X)
    assert check_model(ADForward(model, select=lambda output: output["out"]), X, verbose=False)


def test_strides_as_transforms_give_them() -> None:
    """An input in any layout in memory: what is spoilt has the same one, so that the same kernels run."""
    x = torch.empty_strided((1, 3, 40, 40), (3, 1, 120, 3)).copy_(torch.rand(1, 3, 40, 40))
    body = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.AdaptiveAvgPool2d(1)]
    assert check_model(nn.Sequential(*body, nn.Flatten()).eval(), x, verbose=False)
