"""Without growth, convolutions of stride 1 are submanifold sparse convolutions (Graham and van der Maaten 2017)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from captum_ad import MaskRule, PositionMask
from captum_ad._engine import Interpreter

Site = tuple[int, ...]
Sites = dict[Site, Tensor]  # the channels of every active site


def sparse_convolution(sites: Sites, layer: nn.Module) -> Sites:
    """Each active site gathers from the active sites that its kernel reaches; no other site comes into being."""
    reach = [range(-(k // 2), k // 2 + 1) for k in layer.kernel_size]
    out = {}
    for site in sites:
        total = layer.bias.detach().clone()
        for tap, offset in enumerate(itertools.product(*reach)):
            source = tuple(s + d * o for s, d, o in zip(site, layer.dilation, offset))
            if source in sites:
                total += layer.weight.detach().flatten(2)[:, :, tap] @ sites[source]
        out[site] = total
    return out


@pytest.mark.parametrize(("rank", "shape"), [(1, (17,)), (2, (9, 8)), (3, (5, 4, 6))])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.9])
def test_no_growth_is_submanifold(rank: int, shape: tuple[int, ...], share: float) -> None:
    torch.manual_seed(rank)
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    settings = [(3, 1), (5, 1), (3, 2), (1, 1), (3, 1)]
    layers = [conv(4, 4, k, padding=d * (k // 2), dilation=d).double() for k, d in settings]
    x, mask = torch.randn(1, 4, *shape).double(), torch.rand(1, 1, *shape) < share
    sites: Sites = {tuple(site): x[(0, slice(None), *site)] for site in mask[0, 0].nonzero().tolist()}
    active = set(sites)

    ad = Interpreter(nn.Identity(), MaskRule(growth="none"), 0.0, [p for layer in layers for p in layer.parameters()])
    out = ad.start(x.where(mask, torch.nan), PositionMask(mask))
    for layer in layers:
        with torch.no_grad(), ad:
            out = layer(out).relu()
        sites = {site: channels.relu() for site, channels in sparse_convolution(sites, layer).items()}
        found = ad.mask(out)
        kept = torch.ones_like(mask) if found is None else found.kept.expand(mask.shape)
        assert {tuple(site) for site in kept[0, 0].nonzero().tolist()} == active == set(sites)
        for site, channels in sites.items():
            torch.testing.assert_close(out[(0, slice(None), *site)], channels)
    dense = torch.zeros_like(x)
    for site, channels in sites.items():
        dense[(0, slice(None), *site)] = channels
    torch.testing.assert_close(ad.finish(out), dense)


def test_with_growth_it_is_not() -> None:
    """The comparison can fail: the paper's rule makes sites around the active ones."""
    layer, x = nn.Conv1d(1, 1, 3, padding=1), torch.ones(1, 1, 5)
    mask = torch.arange(5) == 2
    ad = Interpreter(layer, MaskRule(), 0.0)
    start = ad.start(x, PositionMask(mask[None, None]))
    with torch.no_grad(), ad:
        out = layer(start)
    found = ad.mask(out)
    assert found is not None
    assert found.kept.sum() == 3
