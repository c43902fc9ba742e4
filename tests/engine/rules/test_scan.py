"""Running totals along a dimension; the oracle's networks have the masks, position by position."""

from __future__ import annotations

import pytest
import torch

from captum_ad import ADForward, UnsupportedOperationError
from tests.engine.rules.spelled import Model, Pairs, assert_agree, every_preset, features, masks, run

PAIRS: Pairs = {
    "the last of a product": (lambda x: x.cumprod(3)[..., -1], lambda x: x.prod(3)),
    "by name": (lambda x: torch.cumsum(input=x, dim=2), lambda x: x.cumsum(2)),
    "from the end": (lambda x: x.cumsum(-1), lambda x: x.cumsum(3)),
    "in place": (lambda x: x.clone().cumsum_(3), lambda x: x.cumsum(3)),
    "product in place": (lambda x: x.clone().cumprod_(3), lambda x: x.cumprod(3)),
    "extremes": (lambda x: x.cummin(3)[0], lambda x: -(-x).cummax(3).values),
    "logarithm of a sum": (lambda x: x.logcumsumexp(2).exp(), lambda x: x.exp().cumsum(2)),
    "of channels": (lambda x: x.cumsum(1), lambda x: x.movedim(1, 3).cumsum(3).movedim(3, 1)),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


@every_preset
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "logcumsumexp"])
def test_gradients(name: str, rule: str, tau: float) -> None:
    for mask in masks().values():
        x = features().requires_grad_()
        out = Model(lambda x: getattr(x, name)(3))
        found = ADForward(out, rule, tau=tau)(x, mask=mask) if name != "cummax" else None
        if found is None:
            found = ADForward(Model(lambda x: x.cummax(3)[0]), rule, tau=tau)(x, mask=mask)
        found.sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[(~mask).expand(x.shape)].any())


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "logcumsumexp"])
def test_from_one_sample_to_the_next_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match="mixes the samples"):
        run(lambda x: getattr(x, name)(0), masks()["half"])
