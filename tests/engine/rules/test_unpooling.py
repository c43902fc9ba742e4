"""Pools that say where their maxima were; the oracle's networks have the masks, position by position."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import ADForward
from tests.engine.rules.spelled import HEIGHT, WIDTH, Model, Pairs, assert_agree, every_preset, features, masks

FIRST = torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)[::2, ::2]


def spread(x: Tensor) -> Tensor:
    """Each value in the first corner of its cell: a transposed convolution."""
    corner = torch.zeros(4, 1, 2, 2).double()
    corner[..., 0, 0] = 1
    return F.conv_transpose2d(x[..., ::2, ::2], corner, stride=2, groups=4)


def line(x: Tensor) -> Tensor:
    return F.max_unpool1d(*F.max_pool1d(x.flatten(2), 3, return_indices=True), 3)


def places(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, return_indices=True)[1]


PAIRS: Pairs = {
    "the values of a pool": (
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[0],
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "over the map": (
        lambda x: F.max_pool2d(x, (HEIGHT, WIDTH), return_indices=True)[0],
        lambda x: F.max_pool2d(x, (HEIGHT, WIDTH)),
    ),
    "places that are constants": (
        lambda x: F.max_unpool2d(x[..., ::2, ::2], FIRST.expand(2, 4, 3, 4), 2),
        spread,
    ),
    "of one dimension": (line, lambda x: F.max_unpool1d(*torch.max_pool1d_with_indices(x.flatten(2), 3), 3, 3)),
    "values of another map": (
        lambda x: F.max_unpool2d(F.max_pool2d(-x, 2), places(x), 2),
        lambda x: F.max_unpool2d(F.max_pool2d(-x, 2), indices=places(x), kernel_size=[2, 2], stride=2),
    ),
}  # fmt: skip


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def test_what_is_missing_overwrites_nothing() -> None:
    """Two windows with one maximum, of which one is dead: its value stays."""
    model = Model(lambda x: F.max_unpool2d(*F.max_pool2d(x, 3, 1, return_indices=True), 3, 1)).eval()
    for mask in masks().values():
        x = features().requires_grad_()
        found = [ADForward(model, "paper", tau=tau)(torch.where(mask, x, 1e30), mask=mask) for tau in (0.0, 0.3)]
        assert all(bool(out.isfinite().all()) for out in found)
        torch.stack(found).sum().backward()
        assert x.grad is not None
        assert not bool(x.grad[(~mask).expand(x.shape)].any())
