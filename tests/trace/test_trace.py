"""A trace says what the engine did: masks are the slow oracle's, and they fill up where counting by hand says so."""

from __future__ import annotations

import gc
import itertools
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from captum_ad import ADForward, Checkpoint, MaskRule, Trace, UnknownNameError, UnsupportedOperationError, register_rule
from captum_ad._engine import Interpreter
from tests.engine.graphs import CHANNELS, GRAPHS, HEIGHT, WIDTH
from tests.engine.test_oracle import OTHER_RANKS, RULES, TAUS, _masks
from tests.engine.test_unchanged import assert_unchanged, snapshot
from tests.networks import Apply, Residual, inputs, masks, networks, rules, taus
from tests.oracle import Graph, Knobs, first_map, put


def line(layers: int, **settings: int) -> nn.Module:
    """Convolutions of three taps over a line of one channel."""
    return nn.Sequential(*(nn.Conv1d(1, 1, 3, padding=1, **settings) for _ in range(layers))).eval()


def only(*positions: int, of: int = 9) -> Tensor:
    mask = torch.zeros(of, dtype=torch.bool)
    mask[list(positions)] = True
    return mask


# Against the oracle


def as_sets(graph: Graph, shape: tuple[int, ...], kept: Tensor, rule: MaskRule, tau: float) -> None:
    x = torch.randn(3, CHANNELS, *shape, dtype=torch.double)
    trace = ADForward(graph, rule, tau=tau).trace(x, mask=kept)
    for number, expected in enumerate(graph.masked(Knobs(rule, tau), first_map(x, kept))):
        found, shape = trace.at(f"operations.{number}"), expected.values.shape
        if [c.number for c in trace.operations].count(found.number) > 1:  # a chunk, of which only one is handed on
            continue
        assert found.shape == shape
        there = torch.ones(shape, dtype=torch.bool) if found.features is None else found.features.expand(shape)
        dead = put(torch.zeros(shape), dict.fromkeys(expected.dead, 1.0)).bool()
        assert torch.equal(there & ~found.mask.expand(shape), dead)
        if found.features is not None:
            assert torch.equal(there, put(torch.zeros(shape), dict.fromkeys(expected.feature, 1.0)).bool())
        for sample, active in enumerate(found.active.tolist()):
            of_sample = [sum(index[0] == sample for index in part) for part in (expected.dead, expected.feature)]
            assert active == pytest.approx(1 - of_sample[0] / max(of_sample[1], 1))


@pytest.mark.parametrize("name", GRAPHS)
def test_masks_and_shares_are_the_oracles(name: str) -> None:
    torch.manual_seed(0)
    graph, kinds = GRAPHS[name](), _masks(HEIGHT, WIDTH)
    for rule, kind, tau in zip(RULES[::5], itertools.cycle(kinds), itertools.cycle(TAUS)):
        as_sets(graph, (HEIGHT, WIDTH), kinds[kind], rule, tau)


@pytest.mark.parametrize("name", OTHER_RANKS)
def test_one_and_three_dimensions(name: str) -> None:
    torch.manual_seed(0)
    shape, build = OTHER_RANKS[name]
    kinds = _masks(*shape)
    as_sets(build(), shape, kinds["half, random, nothing"], MaskRule(), 0.0)
    as_sets(build(), shape, kinds["channels, pixel, half"], MaskRule(growth="none"), 0.3)


@given(networks(), inputs(), masks(), rules(), taus())
def test_a_trace_changes_nothing(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    before, values, kept = snapshot(model), x.clone(), mask.clone()
    ad = ADForward(model, rule, tau=tau)
    expected = ad(x, mask=mask)
    trace = ad.trace(x, mask=mask)
    assert torch.equal(trace.output, expected)
    assert_unchanged(model, before)
    assert torch.equal(x, values)
    assert torch.equal(mask, kept)
    assert not vars(trace.output)
    assert not vars(x)
    for c in trace:
        assert 0 <= c.share <= 1
        assert c.mask.dtype == torch.bool
        c.mask.expand(c.shape)
    full = trace.full_at
    assert full is None or full is trace[-1]
    last = [c.number for c in trace.sample_full_at if c is not None]
    assert (full is not None) == (len(last) == len(x))
    assert full is None or full.number == max(last)


# Where it fills up


def test_a_line_fills_where_counting_says_so() -> None:
    trace = ADForward(line(6), "paper").trace(torch.randn(1, 1, 9), mask=only(4))
    assert [round(9 * c.share) for c in trace] == [1, 3, 5, 7, 9]
    assert [c.place for c in trace] == ["input", "0", "1", "2", "3"]
    assert [c.number for c in trace] == [0, 1, 2, 3, 4]
    assert torch.equal(trace[2].mask, only(2, 3, 4, 5, 6)[None, None])
    assert trace.full_at is trace[-1]
    assert trace[-1].full
    assert trace[-1].mask.all()
    assert len(trace.operations) == 7  # the input and six convolutions
    assert all(c.full and not c.renewed for c in trace.operations[5:])
    assert trace.at("5").full
    assert trace.at("input") is trace[0]
    assert trace.summary() == "paper: 11.1 % of the input active, full after 3 (conv1d, operation 4 of 6)"
    assert str(trace).splitlines()[-2:] == ["4  3       Conv1d  conv1d     1×1×9   100 %", "full from here on"]


def test_each_sample_fills_in_its_own_place() -> None:
    mask = torch.stack([only(4), only(2, 3, 4, 5, 6), only(*range(9)), only()])
    trace = ADForward(line(6), "paper").trace(torch.randn(4, 1, 9), mask=mask)
    first, second, whole, nothing = trace.sample_full_at
    assert (first.place, second.place, whole.place) == ("3", "1", "input")
    assert nothing is None
    assert trace.full_at is None
    assert [round(9 * share) for share in trace.at("0").active.tolist()] == [3, 7, 9, 0]
    assert trace.summary().endswith("not full by the end: 75 % after 5 (conv1d)")
    assert "0 to 100 %" in str(trace)
    assert "full from here on" not in str(trace)
    trace = ADForward(line(6), "paper").trace(torch.randn(2, 1, 9), mask=mask[:2])
    assert [c.place for c in trace.sample_full_at] == ["3", "1"]
    assert trace.full_at is trace.sample_full_at[0]


def test_without_growth_it_never_fills() -> None:
    trace = ADForward(line(6), "no-growth").trace(torch.randn(1, 1, 9), mask=only(4))
    assert len(trace) == 7
    assert all(torch.equal(c.mask, only(4)[None, None]) for c in trace)
    assert trace.full_at is None
    assert trace.sample_full_at == (None,)
    assert trace.summary() == "no-growth: 11.1 % of the input active, not full by the end: 11.1 % after 5 (conv1d)"


def test_a_pool_over_the_map_leaves_one_position() -> None:
    model = nn.Sequential(line(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    trace = ADForward(model, "no-growth").trace(torch.randn(1, 1, 9), mask=only(4))
    assert trace.full_at.place == "1"
    assert "not full until 1 (adaptive_avg_pool1d, operation 3 of 5) leaves one position" in trace.summary()
    nothing = ADForward(model, "no-growth").trace(torch.randn(1, 1, 9), mask=only())
    assert (nothing.at("2").share, nothing.at("3").share) == (0, 1)  # the linear layer ends the mask


@pytest.mark.parametrize("kind", ["union", "intersection"])
def test_a_shortcut_that_is_not_full_yet_counts(kind: str) -> None:
    model = nn.Sequential(Residual(line(4), nn.Identity()), line(1)).eval()
    trace = ADForward(model, MaskRule(sum=kind)).trace(torch.randn(1, 1, 9), mask=only(4))
    assert trace.at("0.body").full
    if kind == "union":
        assert (trace.full_at.place, trace.full_at.operation) == ("0", "add_")
    else:
        assert trace.full_at is None


def test_a_rule_made_of_others_is_one_operation() -> None:
    def scaled(ad: Interpreter, op: object, x: Tensor, dim: int) -> Tensor:
        return ad.follow(lambda: F.conv1d(F.conv1d(x, torch.ones(1, 1, 3), padding=1), torch.ones(1, 1, 3), padding=1))

    register_rule("cumsum")(scaled)
    trace = ADForward(Apply(lambda x: x.relu().cumsum(2)).eval(), "paper").trace(torch.randn(1, 1, 9), mask=only(4))
    assert [(c.operation, c.number, round(9 * c.share)) for c in trace] == [("input", 0, 1), ("cumsum", 2, 5)]


# What is written down


def test_padding_is_no_feature() -> None:
    trace = ADForward(nn.Sequential(nn.ZeroPad1d(3), nn.Conv1d(1, 1, 1)).eval(), "paper").trace(
        torch.randn(1, 1, 4), mask=only(0, of=4)
    )
    padded = trace[1]
    assert padded.operation == "pad"
    assert padded.share == 0.25
    assert torch.equal(padded.features[0, 0], only(3, 4, 5, 6, of=10))
    assert torch.equal(padded.mask[0, 0], only(3, of=10))


def test_channels_count_by_themselves() -> None:
    mask = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    mask[:, 0] = mask[:, 1, 0] = True
    x = torch.randn(2, 3, 4, 4)
    trace = ADForward(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 2, 1)).eval(), "paper").trace(
        x, mask=mask
    )
    assert [c.active.tolist() for c in trace] == [[20 / 48] * 2, [24 / 48] * 2, [1, 1]]


def test_batch_elsewhere_is_one_share_for_all() -> None:
    model = Apply(lambda x: x.permute(2, 0, 1)).eval()
    trace = ADForward(model, "paper").trace(torch.randn(2, 1, 9), mask=torch.stack([only(4), only(3, 4, 5)]))
    assert [c.active.tolist() for c in trace] == [[1 / 9, 3 / 9], [pytest.approx(2 / 9)] * 2]


def test_several_inputs_keywords_and_nan() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor, *, scale: float) -> Tensor:
            return (a + b).relu() * c * scale

    a, b, c = torch.randn(2, 1, 9), torch.randn(2, 1, 9), torch.randn(2, 1, 1)
    masks = only(4), torch.stack([only(3), only(5, 6)]), None
    ad = ADForward(Two().eval(), "paper")
    trace = ad.trace(a, b, c, mask=masks, scale=2.0)
    assert torch.equal(trace.output, ad(a, b, c, mask=masks, scale=2.0))
    assert [point.operation for point in trace] == ["input 0", "input 1", "add"]
    assert [round(18 * point.share) for point in trace] == [2, 3, 5]
    assert trace.summary().startswith("paper: 11.1 % of input 0 active, 16.7 % of input 1 active, not full by the end")
    assert trace[2].place == "Two.forward"
    assert "(model)" in str(trace)
    missing = ad.trace(a.where(masks[0], math.nan), b.where(masks[1][:, None], math.nan), c, scale=2.0)
    assert torch.equal(missing.output, trace.output)
    assert [point.share for point in missing] == [point.share for point in trace]
    one = ad.trace(a, b, c, mask=(None, masks[1], None), scale=2.0)  # a is a constant then, no feature
    assert [point.operation for point in one] == ["input 1"]
    assert one.summary().startswith("paper: 16.7 % of input 1 active")


@pytest.mark.parametrize("mask", [None, torch.ones(9)])
def test_nothing_masked_is_all_active(mask: Tensor | None) -> None:
    x, model = torch.randn(2, 1, 9), line(2)
    trace = ADForward(model, "paper").trace(x, mask=mask)
    assert torch.equal(trace.output, model(x))
    assert len(trace) == 1
    assert trace.full_at is trace[0]
    assert trace.sample_full_at == (trace[0], trace[0])
    assert trace.summary() == "paper: nothing is masked, everything is active"
    assert str(trace).endswith("full from here on")
    assert ADForward(Apply(lambda x=1: torch.ones(2)).eval(), "paper").trace().summary() == trace.summary()


def test_masks_are_copies_and_activations_are_not_kept() -> None:
    seen: list[weakref.ref[Tensor]] = []
    model = line(3)
    for layer in model:
        layer.register_forward_hook(lambda module, args, out: seen.append(weakref.ref(out)))
    mask = only(4)
    with torch.no_grad():
        trace = ADForward(model, "no-growth").trace(torch.randn(1, 1, 9), mask=mask)
    mask[:] = True
    assert torch.equal(trace[0].mask[0, 0], only(4))
    trace.output = torch.zeros(())
    gc.collect()
    assert len(seen) == 3
    assert all(activation() is None for activation in seen)


def test_gradients_flow() -> None:
    x = torch.randn(1, 1, 9, requires_grad=True)
    ad = ADForward(line(2), "paper")
    (of_trace,) = torch.autograd.grad(ad.trace(x, mask=only(4)).output.sum(), x)
    (of_forward,) = torch.autograd.grad(ad(x, mask=only(4)).sum(), x)
    assert torch.equal(of_trace, of_forward)


def test_it_is_a_sequence() -> None:
    trace = ADForward(line(3), "no-growth-mean", tau=0.3).trace(torch.randn(1, 1, 9), mask=only())
    assert isinstance(trace, Trace)
    assert all(isinstance(c, Checkpoint) for c in trace)
    assert trace[1:] == tuple(trace)[1:]
    assert trace[-1] in trace
    assert repr(trace).startswith(f"<Trace of {len(trace)} checkpoints, no-growth-mean, τ = 0.3: 0 % of the input")
    other = ADForward(line(1), MaskRule(average="active")).trace(torch.randn(1, 1, 9), mask=only())
    assert other.summary().startswith("average=active: ")


def test_almost_all_is_not_all() -> None:
    mask = torch.ones(4000, dtype=torch.bool)
    mask[:2] = False
    trace = ADForward(line(1), "no-growth").trace(torch.randn(1, 1, 4000), mask=mask)
    assert "99.9 % of the input active" in trace.summary()
    trace = ADForward(line(1), "paper").trace(torch.randn(1, 1, 4000), mask=~mask)
    assert "0.1 % of the input active" in trace.summary()


def test_errors_are_those_of_a_forward() -> None:
    ad = ADForward(line(2), "paper")
    with pytest.raises(ValueError, match="does not fit the input"):
        ad.trace(torch.randn(1, 1, 9), mask=only(4, of=8))
    with pytest.raises(ValueError, match="mask is a tuple of 2 for 1 inputs"):
        ad.trace(torch.randn(1, 1, 9), mask=(only(4), None))
    limits = nn.Sequential(line(1), Apply(lambda x: x.renorm(2, 0, 1.0))).eval()
    before, x = snapshot(limits), torch.randn(1, 1, 9)
    with pytest.raises(UnsupportedOperationError, match=r"renorm, called in module '1' \(Apply\)"):
        ADForward(limits).trace(x, mask=only(4))
    assert_unchanged(limits, before)
    assert not vars(x)
    with pytest.raises(
        UnknownNameError, match="unknown module with features in this trace '2': expected one of 0, 1, input"
    ):
        ad.trace(torch.randn(1, 1, 9), mask=only(4)).at("2")
    with pytest.raises(UnknownNameError, match="unknown module"):
        ad.trace(torch.randn(1, 1, 9)).at("0")
    with pytest.warns(UserWarning, match="in train mode"):
        ADForward(line(2).train()).trace(torch.randn(1, 1, 9), mask=only(4))
