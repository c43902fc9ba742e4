"""Rules for whole modules and for autograd functions."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn

from captum_ad import ADForward, PositionMask, UnsupportedOperationError, register_rule
from captum_ad._engine import Interpreter
from tests.engine.own_code import (
    HALF,
    Around,
    Extending,
    Inheriting,
    Op,
    Overriding,
    Pair,
    Prefix,
    Scale,
    X,
    elementwise,
    masked,
)
from tests.networks import Apply


def test_a_module_type_is_run_by_its_rule() -> None:
    class Own(Scale):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    block, calls = Own(), []
    expected = masked(block)
    register_rule(Own)(elementwise(calls))
    assert torch.equal(masked(block), expected)
    assert calls == [block]
    ADForward(Around(block).eval())(X)
    Around(block)(X)
    assert len(calls) == 1  # nothing was masked


def test_subclasses() -> None:
    """One without a forward of its own is concerned; one with its own only where it calls the other's."""
    expected = {kind: masked(kind()) for kind in (Inheriting, Overriding, Extending)}
    calls: list[Any] = []
    register_rule(Scale)(elementwise(calls))
    for kind, called in ((Inheriting, True), (Overriding, False), (Extending, True)):
        calls.clear()
        assert torch.equal(masked(kind()), expected[kind])
        assert bool(calls) == called, kind
    own: list[Any] = []
    register_rule(Inheriting)(elementwise(own))  # the nearest rule
    calls.clear()
    masked(Inheriting())
    assert (len(own), len(calls)) == (1, 0)


def test_the_last_rule_counts() -> None:
    first, second = [], []
    register_rule(Scale)(elementwise(first))
    forward = vars(Scale)["forward"]
    register_rule(Scale)(elementwise(second))
    masked(Scale())
    assert (len(first), len(second)) == (0, 1)
    assert vars(Scale)["forward"] is forward


def test_outside_of_masked_forwards_nothing_changes() -> None:
    source, signature = inspect.getsource(Overriding.forward), inspect.signature(Overriding.forward)
    register_rule(Overriding)(elementwise([]))
    block = Overriding()
    assert inspect.isfunction(Overriding.forward)
    assert (inspect.getsource(Overriding.forward), inspect.signature(Overriding.forward)) == (source, signature)
    assert block.forward.__func__ is Overriding.forward
    assert "forward" not in vars(block)
    for same in (
        copy.deepcopy(block),
        pickle.loads(pickle.dumps(block)),
        torch.jit.script(block),
        torch.fx.symbolic_trace(block),
        torch.compile(block, backend="eager", fullgraph=hasattr(torch.compiler, "set_stance")),
        nn.DataParallel(block),
    ):
        assert torch.equal(same(X), -X)


def prefix_rule(ad: Interpreter, op: Op, x: Tensor, axis: int = 2) -> Tensor:
    mask = ad.mask(x)
    assert mask is not None
    return ad.emit(op(ad.deactivate(x), axis), PositionMask(mask.kept.expand(x.shape).cumsum(axis) > 0))


@pytest.mark.parametrize("named", [False, True])
def test_opaque_content(named: bool) -> None:
    def block(x: Tensor) -> Tensor:
        return prefix(x, axis=3) if named else prefix(x, 3)

    prefix = Prefix()
    model = Around(block).eval()
    model.prefix = prefix
    with pytest.raises(UnsupportedOperationError, match=r"'prefix.inside'.*TorchScript"):
        ADForward(model)(X, mask=HALF)
    register_rule(Prefix)(prefix_rule)
    ad = ADForward(model)
    out = ad(X, mask=HALF)
    assert torch.equal(ad(torch.where(HALF, X, float("nan"))), out)
    mixed = ad(X, mask=torch.stack([HALF, torch.ones_like(HALF)]))
    assert torch.equal(mixed[1], model(X)[1])
    torch.testing.assert_close(mixed[0], out[0])
    with torch.device("cpu"), torch.no_grad():  # another mode of torch's, around and inside of ours
        assert torch.equal(ad(X, mask=HALF), out)
        model.block = lambda x: _under_a_device(block, x)
        assert torch.equal(ad(X, mask=HALF), out)


def _under_a_device(block: Op, x: Tensor) -> Tensor:
    with torch.device("cpu"):
        return block(x)


def test_where_the_mask_has_ended_the_block_runs_as_it_is() -> None:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.numpy() + 1)

    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4), Head()).eval()
    ad = ADForward(model)
    with torch.no_grad(), pytest.raises(UnsupportedOperationError):
        ad(X, mask=HALF)
    register_rule(Head)(elementwise([]))
    with torch.no_grad():
        torch.testing.assert_close(ad(X, mask=HALF), model(X * HALF))


def test_several_outputs_that_share_memory() -> None:
    """What is deactivated of one is not taken from the other, which keeps more."""

    @register_rule(Pair)
    def pair(ad: Interpreter, op: Op, x: Tensor) -> tuple[Tensor, Tensor]:
        out, again = op(x)
        return ad.emit(out, ad.mask(x)), ad.emit(again, None)

    def use(x: Tensor) -> Tensor:
        first, second = pair_of(x)
        pooled = nn.functional.avg_pool2d(first, 3, 1, 1)
        return torch.cat([pooled, second], 1)

    pair_of = Pair()
    with torch.no_grad():
        out = ADForward(Around(use).eval(), "paper", skip_dead=False)(X, mask=HALF.flip(1))
        conv = Around(use).conv(X * HALF.flip(1))
        expected = nn.functional.avg_pool2d(conv.sinc(), 2).flatten(1)
    torch.testing.assert_close(out[:, 27:], expected)


@pytest.mark.parametrize("what", ["tensor", "tuple", "in place"])
def test_a_rule_that_forgets_to_emit(what: str) -> None:
    @register_rule(Pair)
    def rule(ad: Interpreter, op: Op, x: Tensor) -> Any:
        if what == "in place":
            return x.exp_()
        out, again = op(x)
        return out if what == "tensor" else (ad.emit(out, ad.mask(x)), again)

    pair = Pair()
    with torch.no_grad(), pytest.raises(TypeError, match=r"Pair.forward returned.*ad.emit"):
        masked(lambda x: pair(x))


def test_calls_that_a_rule_does_not_know() -> None:
    @register_rule(Scale)
    def refusing(ad: Interpreter, op: Op, x: Tensor) -> Tensor:
        ad.refuse("does something odd")

    scale = Scale()
    with pytest.raises(UnsupportedOperationError, match=r"Scale.forward, called in module 'block' \(Scale\)"):
        masked(scale)
    register_rule(Scale)(elementwise([]))
    assert torch.equal(masked(lambda x: scale(x=x)), masked(scale))
    register_rule(Scale)(lambda ad, op, values: ad.emit(op(values), ad.mask(values)))
    with pytest.raises(UnsupportedOperationError, match="its rule does not accept"):
        masked(lambda x: scale(x=x))


def test_a_rule_may_follow_and_emit() -> None:
    """What is intercepted inside of a rule leaves no trace in what the rule says afterwards."""

    @register_rule(Scale)
    def rule(ad: Interpreter, op: Op, x: Tensor) -> Tensor:
        followed = ad.follow(lambda: (x + x).relu())
        assert ad.mask(followed) is ad.mask(x)
        return ad.emit(x.exp_(), ad.mask(x))  # in place, of an operand, and no longer zero where it is masked

    def use(x: Tensor) -> Tensor:
        x = x.relu()
        view = x.view(-1)
        scale(x)
        return nn.functional.avg_pool2d(view.view(x.shape), 2)

    scale = Scale()
    with torch.no_grad():
        out, apart = (Apply(f).eval() for f in (use, lambda x: nn.functional.avg_pool2d(x.relu().exp(), 2)))
        assert torch.equal(ADForward(out)(X, mask=HALF), ADForward(apart)(X, mask=HALF))


@pytest.mark.parametrize("kind", [nn.Module, torch.autograd.Function, torch.jit.ScriptModule, dict])
def test_classes_of_which_all_would_be_hit_and_scripts_take_no_rule(kind: type) -> None:
    with pytest.raises(TypeError, match="cannot be registered for the class"):
        register_rule(kind)(elementwise)
