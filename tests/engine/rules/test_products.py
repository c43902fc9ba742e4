"""Products and distances in torch's other spellings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import ADForward
from tests.engine.rules.spelled import (
    CHANNELS,
    WIDTH,
    Model,
    Pairs,
    assert_agree,
    every_preset_and_tau,
    features,
    masks,
)

generator = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(CHANNELS, 5, generator=generator).double()
BILINEAR = torch.randn(3, CHANNELS, CHANNELS, generator=generator).double()
VECTOR, BIAS = WEIGHT[:, 0].clone(), WEIGHT[0].clone()


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def rows(x: Tensor) -> Tensor:
    """Positions of one sample."""
    return tokens(x)[0]


PAIRS: Pairs = {
    "linalg.matmul": (lambda x: torch.linalg.matmul(x, x.mT), lambda x: x @ x.mT),
    "linalg.matmul, constant": (
        lambda x: torch.linalg.matmul(tokens(x), WEIGHT),
        lambda x: F.linear(tokens(x), WEIGHT.T),
    ),
    "vecdot": (
        lambda x: torch.linalg.vecdot(x, x.roll(3, 3), dim=1),
        lambda x: torch.einsum("nchw,nchw->nhw", x, x.roll(3, 3)),
    ),
    "inner": (lambda x: torch.inner(tokens(x), WEIGHT.T), lambda x: torch.einsum("npc,kc->npk", tokens(x), WEIGHT.T)),
    "mv": (lambda x: torch.mv(rows(x), VECTOR), lambda x: (rows(x) @ VECTOR[:, None]).squeeze(1)),
    "dot": (
        lambda x: torch.dot(x[0, 0, 0], x[0, 1, 2]),
        lambda x: torch.einsum("i,i->", x[0, 0, 0], x[0, 1, 2]),
    ),
    "outer": (lambda x: torch.outer(x[0, 0, 0], x[0, 1, 2]), lambda x: x[0, 0, 0][:, None] * x[0, 1, 2]),
    "multi_dot": (
        lambda x: torch.linalg.multi_dot([rows(x), WEIGHT, WEIGHT.T]),
        lambda x: rows(x) @ WEIGHT @ WEIGHT.T,
    ),
    "addmm": (lambda x: torch.addmm(BIAS, rows(x), WEIGHT), lambda x: F.linear(rows(x), WEIGHT.T, BIAS)),
    "addmm, scaled": (
        lambda x: torch.addmm(BIAS, rows(x), WEIGHT, beta=2, alpha=3),
        lambda x: 2 * BIAS + 3 * (rows(x) @ WEIGHT),
    ),
    "addmv": (
        lambda x: torch.addmv(rows(x)[:, 0], rows(x), VECTOR),
        lambda x: rows(x)[:, 0] + torch.mv(rows(x), VECTOR),
    ),
    "addr": (
        lambda x: torch.addr(torch.ones(WIDTH, WIDTH).double(), x[0, 0, 0], x[0, 1, 2]),
        lambda x: 1 + torch.outer(x[0, 0, 0], x[0, 1, 2]),
    ),
    "bilinear": (
        lambda x: F.bilinear(tokens(x), tokens(x).flip(1), BILINEAR, VECTOR[:3]),
        lambda x: torch.einsum("npi,oij,npj->npo", tokens(x), BILINEAR, tokens(x).flip(1)) + VECTOR[:3],
    ),
    "hypot": (lambda x: torch.hypot(x, x.roll(3, 3)), lambda x: (x.square() + x.roll(3, 3).square()).sqrt()),
    "pairwise_distance": (
        lambda x: F.pairwise_distance(tokens(x), tokens(x).roll(3, 1), 2.0, 0.0),
        lambda x: (tokens(x) - tokens(x).roll(3, 1)).norm(dim=-1),
    ),
    "dist": (lambda x: torch.dist(x[:1], x[:1].roll(3, 3)), lambda x: (x[:1] - x[:1].roll(3, 3)).norm()),
    "cdist": (
        lambda x: torch.cdist(tokens(x), tokens(x)[:, :5], p=1.0),
        lambda x: (tokens(x)[:, :, None] - tokens(x)[:, None, :5]).norm(1.0, -1),
    ),
    "cdist to constants": (
        lambda x: torch.cdist(tokens(x), WEIGHT.T, compute_mode="donot_use_mm_for_euclid_dist"),
        lambda x: (tokens(x)[:, :, None] - WEIGHT.T).norm(dim=-1),
    ),
}


@every_preset_and_tau
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


@every_preset_and_tau
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
