"""Order by value; the oracle's networks have the masks, position by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from captum_ad import UnsupportedOperationError
from tests.engine.rules.spelled import Pairs, assert_agree, every_preset, masks, run

ENDS = torch.tensor([0.0, 1.0]).double()
PAIRS: Pairs = {
    "the largest": (lambda x: x.topk(1, 3)[0], lambda x: x.amax(3, keepdim=True)),
    "the largest of all positions": (lambda x: x.flatten(2).topk(1)[0], lambda x: x.flatten(2).amax(2, keepdim=True)),
    "topk": (
        lambda x: torch.topk(x, k=3, dim=2, largest=False)[0],
        lambda x: x.sort(2)[0][:, :, :3],
    ),
    "kthvalue": (lambda x: x.kthvalue(2, dim=1, keepdim=True), lambda x: [part[:, 1:2] for part in x.sort(1)]),
    "median": (lambda x: x.median(3)[0], lambda x: torch.kthvalue(x, k=4)[0]),
    "nanmedian": (lambda x: x.nanmedian(3, True), lambda x: x.median(3, True)),
    "quantile": (lambda x: x[..., 1:].quantile(0.5, 3), lambda x: x[..., 1:].median(3)[0]),
    "quantile, one of the values": (
        lambda x: torch.quantile(input=x, q=0.3, axis=3, keepdims=True, interpolation="lower"),
        lambda x: x.kthvalue(3, 3, True)[0],
    ),
    "quantile of all": (lambda x: x[:1].quantile(0.5, interpolation="lower"), lambda x: x[:1].median()),
    "nanquantile": (lambda x: x.nanquantile(0.7, 2), lambda x: x.quantile(0.7, 2)),
    "quantiles": (lambda x: x.quantile(ENDS, 2), lambda x: torch.stack([x.amin(2), x.amax(2)])),
    "quantiles, kept dimensions": (
        lambda x: x.quantile(ENDS, 3, keepdim=True),
        lambda x: torch.stack([x.amin(3, True), x.amax(3, True)]),
    ),
    "quantiles of all": (lambda x: x[:1].quantile(ENDS), lambda x: torch.stack([x[:1].amin(), x[:1].amax()])),
    "the sum of quantiles": (lambda x: x.quantile(ENDS, 3).sum(0), lambda x: x.amin(3) + x.amax(3)),
    "between quantiles": (
        lambda x: (x - x.flatten(1).quantile(ENDS, 1)[0][:, None, None, None]) * 2,
        lambda x: (x - x.amin((1, 2, 3), True)) * 2,
    ),
    "one of several quantiles": (lambda x: x + x.quantile(ENDS[1:], 3, True)[0], lambda x: x + x.amax(3, True)),
    "mode": (lambda x: x.round().mode(3, True), lambda x: x.round().mode(dim=3, keepdim=True)),
    "median of all": (lambda x: x[:1].median(), lambda x: x[:1].flatten().median(0)[0]),
    "argsort": (lambda x: x.argsort(dim=3, descending=True), lambda x: torch.sort(x, 3, True)[1]),
    "stable": (lambda x: torch.sort(x, stable=True, dim=2), lambda x: x.sort(2)),
    "msort": (lambda x: x[0].msort(), lambda x: x[0].sort(0)[0]),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "samples": (lambda x: x.sort(0)[0], "mixes the samples"),
    "median of samples": (lambda x: x.median(0)[0], "mixes the samples"),
    "quantiles of samples": (lambda x: x.quantile(ENDS, 0), "mixes the samples"),
    "quantiles that features say": (lambda x: x.quantile(x[0, 0, 0, 0].sigmoid(), 3), "computed from features"),
    "quantile, out": (lambda x: torch.quantile(x, 0.5, 3, out=torch.empty(2, 4, 6).double()), "'out'"),
    "msort": (lambda x: x.msort(), "mixes the samples"),
    "out": (lambda x: torch.msort(x[0], out=torch.empty(4, 6, 8).double()), "out="),
    "indices that features have": (lambda x: x.gather(3, x.argsort(3)), "computed from features"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(UnsupportedOperationError, match=words):
        run(function, masks()["half"])
