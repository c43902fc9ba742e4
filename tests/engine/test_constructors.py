"""Tensors that are made of numbers during a forward are constants, however they are made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Variable

from captum_ad import ADForward, UnsupportedOperationError
from captum_ad.testing import check_model
from tests.networks import Apply

X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
HALF = torch.arange(6).expand(6, 6) < 3

MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "Tensor": lambda x: x * torch.Tensor([2.0]),
    "Tensor of an array": lambda x: x * torch.Tensor(np.full((6, 6), 2.0)),
    "FloatTensor": lambda x: x * torch.FloatTensor([2.0]),
    "LongTensor": lambda x: x * torch.LongTensor([2]),
    "from_numpy": lambda x: x * torch.from_numpy(np.full((6, 6), 2, np.float32)),
    "as_tensor": lambda x: x * torch.as_tensor([2.0]),
    "as_tensor of an array": lambda x: x * torch.as_tensor(np.full((1,), 2.0, np.float32)),
    "new": lambda x: x * x.new([2.0]),
    "new of an array": lambda x: x * x.new(np.full((6, 6), 2.0)),
    "computed with": lambda x: x * (torch.Tensor([3.0]) - 1).to(x),
    "written to": lambda x: x * torch.Tensor([3.0]).sub_(1),
    "Variable of numbers": lambda x: x * Variable(torch.FloatTensor([2.0])),
    "Variable": lambda x: Variable(x) + x,
    "Variable in between": lambda x: 2 * Variable(x.relu() - 1) - 2 * Variable((-x).relu()) + 2,
    "scripted, of numbers": lambda x: x * doubled(torch.Tensor([1.0])),
}


@torch.jit.script
def doubled(x: Tensor) -> Tensor:
    return 2 * x


@torch.jit.script
def read(x: Tensor) -> Tensor:
    return torch.tensor([float(x.sum())])


@torch.jit.script
def doubled_(x: Tensor) -> Tensor:
    return x.mul_(2)


def model(function: Callable[[Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return Apply(lambda x, conv: function(conv(x)), nn.Conv2d(3, 4, 3, padding=1)).eval()


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("rule", ["paper", "no-growth-mean"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_numbers(name: str, rule: str, inference: bool) -> None:
    ad, expected = ADForward(model(MADE[name]), rule), ADForward(model(lambda x: 2 * x), rule)
    with torch.inference_mode(inference):
        for _ in range(2):
            torch.testing.assert_close(ad(X, mask=HALF), expected(X, mask=HALF))
        assert torch.equal(ad(X), ad.model(X))
        trace = ad.trace(X, mask=HALF)
    assert [c.operation for c in trace][:2] == ["input", "conv2d"]
    assert torch.equal(trace.output, ad(X, mask=HALF))


def test_gradients_flow() -> None:
    x = X.clone().requires_grad_()
    ADForward(model(MADE["FloatTensor"]), "paper")(x, mask=HALF).sum().backward()
    expected = X.clone().requires_grad_()
    ADForward(model(lambda x: 2 * x), "paper")(expected, mask=HALF).sum().backward()
    torch.testing.assert_close(x.grad, expected.grad)


def test_a_check_sees_them_too() -> None:
    network = nn.Sequential(model(MADE["Tensor"]), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert check_model(network, X[:1], verbose=False)


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "scripted": lambda x: x + doubled(x),
    "scripted, made of a number of features": lambda x: x + read(x),
    "scripted in place": lambda x: x + doubled_(x.clone()),
    "scripted in place, an alias": lambda x: x + doubled_(Variable(x.clone())),
    "scripted, features into numbers": lambda x: x + torch.Tensor([1.0]) * doubled(x),
    "numpy": lambda x: x * torch.from_numpy(x.numpy()),
    "a list": lambda x: x * torch.Tensor(x.tolist()),
    "not written yet": lambda x: x * torch.Tensor(6, 6),
}


@pytest.mark.parametrize("name", REFUSED)
@torch.no_grad()
def test_what_may_be_made_of_features_is_refused(name: str) -> None:
    ad = ADForward(model(REFUSED[name]), "paper")
    for _ in range(2):
        with pytest.raises(UnsupportedOperationError):
            ad(X, mask=HALF)
