"""The invariants, for random networks on lines, images and volumes, with and without attention."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad import ADForward
from tests.engine.test_invariants import dead_everywhere
from tests.networks import rules, taus
from tests.ranks import CHANNELS, SHAPES, masks, networks


@pytest.mark.parametrize("rank", SHAPES)
@given(st.data(), rules(), taus(), st.sampled_from([math.nan, math.inf, 1e30]))
@torch.no_grad()
def test_invariants(rank: int, data: st.DataObject, rule: object, tau: float, junk: float) -> None:
    model, mask = data.draw(networks(rank)), data.draw(masks(rank, 3))
    x, ad = torch.randn(3, CHANNELS, *SHAPES[rank]).double(), ADForward(model, rule, tau=tau)
    mask[0] = True
    plain, out = model(x), ad(x, mask=mask)
    assert torch.equal(ad(x), plain)
    assert bool(out.isfinite().all())
    torch.testing.assert_close(out[0], plain[0], msg=lambda m: f"the whole sample: {m}")
    assert torch.equal(ad(torch.where(mask, x, junk), mask=mask), out), "what is missing was seen"
    for i in range(3):
        alone = ad(x[i : i + 1], mask=mask[i : i + 1])
        torch.testing.assert_close(alone[0], out[i], msg=lambda m: f"batches mix: {m}")


@pytest.mark.parametrize("rank", SHAPES)
@given(st.data(), rules(), taus())
def test_masks_are_monotone(rank: int, data: st.DataObject, rule: object, tau: float) -> None:
    model, mask, more = (data.draw(s) for s in (networks(rank), masks(rank, 1), masks(rank, 1)))
    x, larger = torch.randn(1, CHANNELS, *SHAPES[rank]).double(), mask | more
    if bool(larger.all()):  # it takes no rule
        return
    few, many = (dead_everywhere(model, rule, tau, x, m) for m in (mask, larger))
    if [d.shape for d in few] != [d.shape for d in many]:
        few, many = few[-1:], many[-1:]
    for dead, still_dead in zip(few, many):
        assert not bool((still_dead & ~dead).any())
