"""check_model passes what works, says what it cannot follow, and refuses what it cannot check."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, MaskRule, PositionMask, register_rule
from captum_ad._engine import Interpreter
from captum_ad.testing import Check, check_model
from captum_ad.testing.model import growing_masks
from tests.engine.test_unchanged import assert_unchanged, snapshot
from tests.networks import Apply, inputs, networks, rules, taus
from tests.testing.models import MISSING, RULES, THEOREM, X, assert_fails, check, network

# What works


@pytest.mark.filterwarnings("error")
def test_nothing_is_warned_of_that_the_check_does_itself() -> None:
    assert check_model(network(), X, verbose=False)


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
        return ad.emit(op(ad.deactivate(x), dim), PositionMask(kept.cumsum(dim) > 0))

    assert check(network(lambda x: x.cumsum(2)))


def test_strides_as_transforms_give_them() -> None:
    """An input in any layout in memory: what is spoilt has the same one, so that the same kernels run."""
    x = torch.empty_strided((1, 3, 40, 40), (3, 1, 120, 3)).copy_(torch.rand(1, 3, 40, 40))
    body = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.AdaptiveAvgPool2d(1)]
    assert check_model(nn.Sequential(*body, nn.Flatten()).eval(), x, verbose=False)


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


class Renormed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.renorm(2, 0, 1.0)


STOPPING: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "no rule": (lambda x: x.renorm(2, 0, 1.0), "renorm", "register_rule"),
    "numpy and back": (lambda x: torch.from_numpy(x.detach().numpy().copy()), "numpy", "register_rule"),
    "an autograd function": (Renormed.apply, "renorm", "register_rule"),
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


@pytest.mark.parametrize("x", [X.long(), X[0, 0, 0], X * math.nan, X / 0, X[:0], "X"])
def test_unsuitable_inputs(x: Any) -> None:
    with pytest.raises(ValueError, match=r"inputs must be a floating-point batch|inputs contain NaN or Inf"):
        check_model(network(), x)


def test_a_waveform() -> None:
    layers = nn.Unflatten(1, (1, 32)), nn.Conv1d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(112, 2)
    x = torch.rand(2, 32, generator=torch.Generator().manual_seed(0))
    assert check_model(nn.Sequential(*layers).eval(), x, verbose=False)
    assert not check_model(nn.Sequential(*layers[:2], Apply(lambda y: y.renorm(2, 1, 1.0)), *layers[2:]).eval(), x)


@pytest.mark.parametrize("masks", [0, -1, 2.0, True])
def test_unsuitable_masks(masks: Any) -> None:
    with pytest.raises(ValueError, match="masks must be"):
        check_model(network(), X, masks=masks)


def test_unsuitable_outputs() -> None:
    with pytest.raises(ValueError, match=r"shape \(\) for 2 samples"):
        check_model(Apply(lambda x: x.sum()).eval(), X)
    model = Apply(lambda x, net: {"mine": net(x), "other": net(x)}, network()).eval()
    with pytest.raises(TypeError, match="select="):
        check_model(model, X)
    assert check_model(ADForward(model, select="mine"), X, verbose=False)


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
    first, *lines = str(check(network(lambda x: x.renorm(2, 0, 1.0)))).splitlines()
    assert first == "Sequential, no-growth, 3 masks, seed 0: NOT all checks passed"
    heads = [line for line in lines if line[2] != " "]
    assert [line[2] for line in heads] == list("✓✓✗–––––")
    column = lines[0].index("every module")
    assert all(line[:column].rstrip() == "" for line in lines if line not in heads)
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    assert all(len(line) <= 118 for line in lines)
    text = " ".join(" ".join(lines).split())
    assert (
        "✗ every operation has a rule operation torch.Tensor.renorm, called in module '0.2' (Suspect), has no" in text
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


def test_several_inputs_are_checked_in_turn() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv1d(2, 4, 3)

        def forward(self, image: Tensor, series: Tensor, table: Tensor, scale: float) -> Tensor:
            return self.first(image).mean((2, 3)) + self.second(series).mean(2) * scale + table

    inputs = (torch.rand(2, 3, 8, 8), torch.rand(2, 2, 12), torch.rand(2, 4), 0.5)
    report = check_model(Two().eval(), inputs, masks=1, verbose=False)
    assert report
    assert report["Theorem 1, input 0"].passed
    assert report["missing means missing, input 1"].passed
    with pytest.raises(ValueError, match="none of the inputs can be masked"):
        check_model(Two().eval(), inputs[2:], verbose=False)
