"""Functions of each element by itself, by all of their names."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from captum_ad import ADForward
from tests.engine.rules.spelled import Model, Pairs, assert_agree, every_preset, features, masks, run

EDGES = torch.tensor([-0.5, 0.0, 0.25, 1.0]).double()


def inside(x: Tensor) -> Tensor:
    return 0.9 * x.tanh()


def positive(x: Tensor) -> Tensor:
    return x.square() + 1.5


PAIRS: Pairs = {
    "absolute": (lambda x: torch.absolute(x), lambda x: x.abs()),
    "negative": (lambda x: torch.negative(x), lambda x: -x),
    "negative in place": (lambda x: x.clone().negative_(), lambda x: -x),
    "arctan": (lambda x: x.arctan(), lambda x: x.atan()),
    "arccos": (lambda x: torch.arccos(inside(x)), lambda x: inside(x).acos()),
    "arcsin": (lambda x: torch.arcsin(inside(x)), lambda x: inside(x).asin()),
    "arcsinh": (lambda x: x.arcsinh(), lambda x: x.asinh()),
    "arccosh": (lambda x: positive(x).arccosh(), lambda x: positive(x).acosh()),
    "arctanh": (lambda x: torch.arctanh(inside(x)), lambda x: inside(x).atanh()),
    "fix": (lambda x: (3 * x).fix(), lambda x: (3 * x).trunc()),
    "expit": (lambda x: torch.special.expit(x), lambda x: x.sigmoid()),
    "special.logit": (lambda x: torch.special.logit(x.sigmoid()), lambda x: x),
    "special.exp2": (lambda x: torch.special.exp2(x), lambda x: x.exp2()),
    "special.sinc": (lambda x: torch.special.sinc(x), lambda x: (math.pi * x).sin() / (math.pi * x)),
    "gammaln": (lambda x: torch.special.gammaln(positive(x)), lambda x: torch.lgamma(positive(x))),
    "psi": (lambda x: torch.special.psi(positive(x)), lambda x: positive(x).digamma()),
    "entr": (lambda x: torch.special.entr(positive(x)), lambda x: -positive(x) * positive(x).log()),
    "ndtr": (lambda x: torch.special.ndtr(x), lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
    "log_ndtr": (lambda x: torch.special.log_ndtr(x), lambda x: torch.special.ndtr(x).log()),
    "ndtri": (lambda x: torch.special.ndtri(torch.special.ndtr(x)), lambda x: x),
    "erfcx": (lambda x: torch.special.erfcx(x), lambda x: x.square().exp() * x.erfc()),
    "i0": (lambda x: torch.special.i0(x), lambda x: torch.special.i0e(x) * x.abs().exp()),
    "i1": (lambda x: torch.special.i1(x), lambda x: torch.special.i1e(x) * x.abs().exp()),
    "byte": (lambda x: (9 * x.abs()).byte(), lambda x: (9 * x.abs()).to(torch.uint8)),
    "char": (lambda x: (9 * x).char(), lambda x: (9 * x).to(torch.int8)),
    "short": (lambda x: (9 * x).short(), lambda x: (9 * x).to(torch.int16)),
    "cfloat": (lambda x: x.cfloat().abs(), lambda x: x.float().abs()),
    "angle": (lambda x: x.angle(), lambda x: (x < 0) * math.pi),
    "isneginf": (lambda x: x.log().isneginf(), lambda x: x.log() < -1e9),
    "isposinf": (lambda x: x.isposinf(), lambda x: x > 1e9),
    "isreal": (lambda x: x.isreal(), lambda x: x.isfinite()),
    "bucketize": (lambda x: torch.bucketize(x, EDGES), lambda x: sum((x > edge).long() for edge in EDGES.tolist())),
    "signbit": (lambda x: (-x).signbit(), lambda x: x > 0),
    "signbit, counted": (lambda x: (-x).signbit().sum((1, 2, 3)), lambda x: (x > 0).sum((1, 2, 3))),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def test_what_is_missing_has_no_sign() -> None:
    """The zero that it is has one, once it is negated."""
    mask = torch.zeros_like(masks()["half"])
    assert not bool(run(lambda x: (-x).signbit(), mask).any())
    assert not bool(run(lambda x: (-x).signbit().sum((1, 2, 3)), mask).any())


STEEP: dict[str, Callable[[Tensor], Tensor]] = {
    "gammaln": lambda x: torch.special.gammaln(positive(x) - 1.5),
    "digamma": lambda x: (positive(x) - 1.5).digamma(),
    "entr": lambda x: torch.special.entr(positive(x) - 1.5),
    "ndtri": lambda x: torch.special.ndtri(inside(x).abs()),
    "logit": lambda x: inside(x).abs().logit(),
    "arccosh": lambda x: (x.abs() + 1).arccosh(),
    "bessel_y0": lambda x: torch.special.modified_bessel_k0(x.abs()).exp(),
}


@every_preset
@pytest.mark.parametrize("name", [name for name in STEEP if "bessel" not in name])
def test_gradients_are_finite(name: str, rule: str, tau: float) -> None:
    for mask in masks().values():
        x = features().requires_grad_()
        ADForward(Model(STEEP[name]), rule, tau=tau)(x, mask=mask).sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[(~mask).expand(x.shape)].any())


@pytest.mark.parametrize("name", STEEP)
@torch.no_grad()
def test_missing_means_missing(name: str) -> None:
    for mask in masks().values():
        ad = ADForward(Model(lambda x: STEEP[name](x).mean((2, 3))))
        out = ad(features(), mask=mask)
        assert bool(out.isfinite().all())
        assert torch.equal(ad(torch.where(mask, features(), math.nan), mask=mask), out)
