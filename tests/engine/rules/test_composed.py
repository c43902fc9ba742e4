"""Products and distances whose masks are those of steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_ad import ADForward
from tests.engine.rules.spelled import CHANNELS, Model, Pairs, assert_agree, every_preset, features, masks

WEIGHT = torch.randn(CHANNELS, 5, generator=torch.Generator().manual_seed(0)).double()


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


PAIRS: Pairs = {
    "hypot": (lambda x: torch.hypot(x, x.roll(3, 3)), lambda x: (x.square() + x.roll(3, 3).square()).sqrt()),
    "cdist": (
        lambda x: torch.cdist(tokens(x), tokens(x)[:, :5], p=1.0),
        lambda x: (tokens(x)[:, :, None] - tokens(x)[:, None, :5]).norm(1.0, -1),
    ),
    "cdist to constants": (
        lambda x: torch.cdist(tokens(x), WEIGHT.T, compute_mode="donot_use_mm_for_euclid_dist"),
        lambda x: (tokens(x)[:, :, None] - WEIGHT.T).norm(dim=-1),
    ),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def quotient(x: Tensor) -> Tensor:
    return x / x.roll(3, 3)


STEEP: Pairs = {
    "hypot": (lambda x: torch.hypot(x, x.roll(3, 3)), lambda x: torch.hypot(x, x.roll(3, 3))),
    "hypot in place": (lambda x: (2 * x).hypot_(x), lambda x: torch.hypot(2 * x, x)),
    "xlogy": (lambda x: torch.xlogy(x, x.square()), lambda x: x * x.square().log()),
    "remainder": (lambda x: x.remainder(x.roll(3, 3)), lambda x: (quotient(x) - quotient(x).floor()) * x.roll(3, 3)),
    "fmod": (lambda x: x.fmod(x.roll(3, 3)), lambda x: quotient(x).frac() * x.roll(3, 3)),
    "logit": (lambda x: torch.logit(x.sigmoid()), lambda x: x),
    "acosh": (
        lambda x: (x.square() + 2).acosh(),
        lambda x: (x.square() + 2).add((x.square() + 2).square().sub(1).sqrt()).log(),
    ),
}


@every_preset
@pytest.mark.parametrize("name", STEEP)
def test_gradients_are_finite(name: str, rule: str, tau: float) -> None:
    """Where both operands are missing there is no slope; elsewhere it is that of the other spelling."""
    for mask in masks().values():
        found = []
        for function in STEEP[name]:
            x = features().requires_grad_()
            ADForward(Model(function), rule, tau=tau)(x, mask=mask).sum().backward()
            assert x.grad is not None
            assert bool(x.grad.isfinite().all())
            assert not bool(x.grad[(~mask).expand(x.shape)].any())
            found.append(x.grad)
        torch.testing.assert_close(*found)
