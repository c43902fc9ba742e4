"""Of what gives wrong answers, check_model names the property, the module and the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, PositionMask, register_rule
from captum_ad._engine import Interpreter
from captum_ad.testing import Report, check_model
from tests.networks import Apply
from tests.testing.models import BATCHES, LOST, MISSING, MONOTONE, RULES, THEOREM, X, assert_fails, check, network


def test_random() -> None:
    torch.manual_seed(0)
    report = check(network(lambda x: F.dropout(x, 0.5, training=True)))
    assert_fails(report, "repeatable", operation="dropout")
    assert report[RULES].passed is None


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
        return ad.emit(op(operand(ad, x), dim), PositionMask(kept.cumsum(dim) > 0))

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
        return ad.emit(ad.deactivate(x).sum((2, 3), keepdim=True) / count, PositionMask(torch.ones_like(count) > 0))

    report = check(network(lambda x: x.mean((2, 3), keepdim=True), rule))
    assert_fails(report, MISSING, words="NaN or Inf")


def test_a_mask_that_shrinks() -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        kept = ad.mask(x).kept
        count = kept.sum((1, 2, 3), keepdim=True)
        return ad.emit(op(x), PositionMask(kept & ((count < 40) | (count == 64))))

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
    report = check(network(lambda x: x - x.mean(0, keepdim=True)))
    assert "mixes the samples of a batch" in report["every operation has a rule"].detail


@pytest.mark.parametrize("samples", [1, 2])
def test_a_block_that_mixes_samples(samples: int) -> None:
    def rule(ad: Interpreter, op: Any, x: Tensor) -> Tensor:
        return ad.emit(op(ad.deactivate(x)), ad.mask(x))

    report = check(network(lambda x: x - x.mean(0, keepdim=True), rule), X[:samples])
    assert_fails(report, THEOREM, BATCHES)
    assert f"among {4 * samples}" in report[BATCHES].detail


def test_one_row_whatever_the_batch() -> None:
    report = check(Apply(lambda x, net: net(x)[:1], network()).eval(), X[:1])
    assert [failure.name for failure in report.failures] == [THEOREM, BATCHES]
    assert "1 rows for 2 samples, and 1 for 1" in report[THEOREM].detail


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
    monkeypatch.setattr("captum_ad._engine.interpreter.zeroed", lambda x, mask: x.clone())
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
