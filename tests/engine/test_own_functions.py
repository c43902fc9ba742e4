"""Rules for autograd functions; threads and samples behind an operation of one's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
    Op,
    Opaque,
    OpaqueChild,
    Scale,
    X,
    elementwise,
    masked,
)


class Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def test_autograd_functions() -> None:
    model = Around(lambda x: Opaque.apply(x, 3.0)).eval()
    ad = ADForward(model)
    with pytest.raises(UnsupportedOperationError):
        ad(X, mask=HALF)
    calls: list[Any] = []
    register_rule(Opaque)(elementwise(calls))
    expected = ADForward(Around(lambda x: x * 3.0).eval())
    gradients = []
    for each in (ad, expected):
        x = X.clone().requires_grad_()
        out = each(x, mask=HALF)
        gradients.append(torch.autograd.grad(out.square().sum(), x)[0])
        torch.testing.assert_close(out, expected(X, mask=HALF))
    torch.testing.assert_close(*gradients)
    assert calls == [Opaque]
    assert torch.equal(ad(X), model(X))
    assert torch.equal(Opaque.apply(X, 2.0), X * 2)
    with pytest.raises(UnsupportedOperationError):  # it computes something else than what the rule is for
        masked(lambda x: OpaqueChild.apply(x))
    compiled = torch.compile(lambda x: Smooth.apply(x), backend="eager")
    register_rule(Smooth)(elementwise(calls))
    assert torch.equal(compiled(X), X.exp())


def test_other_threads_do_not_notice() -> None:
    calls: list[Any] = []
    started, done, seen = threading.Event(), threading.Event(), []

    @register_rule(Scale)
    def slow(ad: Interpreter, op: Op, x: Tensor) -> Tensor:
        calls.append(op)
        started.set()
        done.wait(10)
        return ad.emit(op(x), ad.mask(x))

    def other() -> None:
        started.wait(10)
        seen.append(torch.equal(Around(Scale())(X), plain))
        done.set()

    plain, thread = Around(Scale())(X), threading.Thread(target=other)
    thread.start()
    masked(Scale())
    thread.join()
    assert seen == [True]
    assert len(calls) == 1


def test_the_samples_of_an_own_operation_are_known() -> None:
    """A pool of one's own, which gives a vector for each sample, before a linear layer."""

    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).quantile(0.9, dim=2)

    @register_rule(Pool)
    def pool(ad: Interpreter, op: Callable[..., Tensor], x: Tensor) -> Tensor:
        mask = ad.mask(x)
        assert mask is not None
        return ad.emit(op(ad.deactivate(x)), PositionMask(mask.kept.flatten(2).any(2)))

    ad = ADForward(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Pool(), nn.Linear(4, 2)).eval())
    x, mask = torch.rand(3, 3, 9, 9), torch.rand(3, 9, 9) > 0.4
    torch.testing.assert_close(ad(x, mask=mask), torch.cat([ad(x[i : i + 1], mask=mask[i : i + 1]) for i in range(3)]))
