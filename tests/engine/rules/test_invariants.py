"""The invariants, for the operations whose rules are tested here, under every preset and τ."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule
from captum_ad._engine import Interpreter
from captum_ad._engine.provenance import Provenance
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    WIDTH,
    Model,
    assert_monotone,
    both,
    every_preset,
    features,
    masks,
    some_presets,
)

COLUMNS = torch.arange(WIDTH) // 3
PLACES = torch.tensor([5, 1, 0])
BOOK = torch.randn(5, CHANNELS, generator=torch.Generator().manual_seed(4)).double()
GAUSS = torch.hann_window(8).double() + 0.1


BASE = F.affine_grid(torch.eye(2, 3)[None].double(), [1, 1, HEIGHT, WIDTH], False)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def places(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, 1, return_indices=True)[1]


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cumsum": lambda x: x.cumsum(3),
    "cumprod": lambda x: x.cumprod(2),
    "cummax": lambda x: x.cummax(3)[0],
    "logcumsumexp": lambda x: x.logcumsumexp(2),
    "sort": lambda x: x.sort(3)[0],
    "topk": lambda x: tokens(x).topk(3, 1)[0],
    "median": lambda x: x.median(2)[0],
    "kthvalue": lambda x: x.kthvalue(2, 1)[0],
    "quantile": lambda x: x.quantile(0.3, 3),
    "scatter": lambda x: x.scatter(3, PLACES.expand(*x.shape[:3], 3), x[..., :3]),
    "scatter_add": lambda x: x.scatter_add(3, PLACES.expand(*x.shape[:3], 3), x[..., 2:5]),
    "index_add": lambda x: torch.zeros(*x.shape[:3], 3).to(x).index_add_(3, COLUMNS, x),
    "index_copy": lambda x: torch.zeros_like(x).index_copy_(3, PLACES, x[..., :3]),
    "scatter_reduce": lambda x: x[..., :3].index_reduce(3, COLUMNS, x, "amax", include_self=False),
    "fft": lambda x: torch.fft.fft(x, dim=2).abs(),
    "fft2": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, x.shape[2:]),
    "stft": lambda x: torch.stft(x.mean(1).flatten(1), 8, 3, window=GAUSS, return_complex=True).abs(),
    "istft": lambda x: torch.istft(
        torch.stft(x.mean(1).flatten(1), 8, 3, window=GAUSS, return_complex=True), 8, 3, window=GAUSS
    ),
    "unpool": lambda x: F.max_unpool2d(F.max_pool2d(x, 3, 2, 1), places(x), 3, 2, 1, x.shape[2:]),
    "cdist": lambda x: torch.cdist(tokens(x), tokens(x)[:, :7]),
    "codes": lambda x: torch.cdist(tokens(x), BOOK),
    "vecdot": lambda x: torch.linalg.vecdot(x, x.roll(2, 3), dim=1),
    "inner": lambda x: torch.inner(tokens(x), BOOK),
    "hypot": lambda x: torch.hypot(x, x.roll(2, 3)),
    "norm of negative order": lambda x: torch.linalg.vector_norm(x, -1, 3),
    "normalized": lambda x: F.normalize(x, dim=(1, 2, 3)),
    "nanmean": lambda x: x.nanmean(3),
    "diag_embed": lambda x: x.diag_embed(),
    "extremes": lambda x: torch.stack(tuple(x.aminmax(dim=2))),
    "expit": lambda x: torch.special.expit(x),
    "a vector": lambda x: x.mean((2, 3)).cumsum(1).sort(1)[0],
    "a vector without a rule": lambda x: x.mean((2, 3)).renorm(2, 0, 0.5),
}  # fmt: skip


def head(name: str) -> nn.Module:
    """The operation, with what reads it."""
    return Model(lambda x: OPERATIONS[name](x).sigmoid())


@every_preset
@pytest.mark.parametrize("name", OPERATIONS)
@torch.no_grad()
def test_missing_means_missing(name: str, rule: str, tau: float) -> None:
    ad = ADForward(head(name), rule, tau=tau)
    for mask in (*masks().values(), torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)):
        out = ad(features(), mask=mask)
        assert bool(out.isfinite().all())
        junk = torch.tensor([math.nan, 1e30, math.inf]).double()[:, None, None]
        assert torch.equal(ad(torch.where(mask, features(), junk), mask=mask), out)


@some_presets
@pytest.mark.parametrize("name", OPERATIONS)
@torch.no_grad()
def test_batches_do_not_mix_and_a_whole_sample_is_the_models(name: str, rule: str, tau: float) -> None:
    model, samples = head(name), 1 if name == "extremes" else 0
    ad, x = ADForward(model, rule, tau=tau), features()
    for mask in masks().values():
        together = ad(x, mask=mask)
        for i in range(len(x)):
            alone = ad(x[i : i + 1], mask=mask[i : i + 1] if len(mask) > 1 else mask)
            torch.testing.assert_close(together.narrow(samples, i, 1), alone)
        beside = mask.expand(2, -1, -1, -1).clone()
        beside[0] = True
        torch.testing.assert_close(ad(x, mask=beside).select(samples, 0), model(x).select(samples, 0))


@pytest.mark.parametrize("name", OPERATIONS)
@torch.no_grad()
def test_the_interpreter_is_the_model(name: str) -> None:
    model, x = head(name), features()
    for rule in ("paper", "no-growth-mean"):
        ad = Interpreter(model, MaskRule.named(rule), 0.3)
        start = ad.start(x, None)
        ad.provenance = Provenance(start)
        with ad.provenance, ad:
            out = model(start)
        assert torch.equal(ad.finish(out), model(x))


@every_preset
@pytest.mark.parametrize("name", OPERATIONS)
@torch.no_grad()
def test_masks_are_monotone(name: str, rule: str, tau: float) -> None:
    assert_monotone(head(name), rule, tau)


@some_presets
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_are_finite_and_stop_at_what_is_missing(name: str, rule: str, tau: float) -> None:
    for mask in masks().values():
        x = torch.where(mask, features(), 1e30).requires_grad_()
        ADForward(head(name), rule, tau=tau)(x, mask=mask).sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[(~mask).expand(x.shape)].any())


IN_THEIR_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "cumsum": lambda x: x.cumsum(3),
    "cumprod": lambda x: x.cumprod(2),
    "cummax": lambda x: x.cummax(3)[0],
    "logcumsumexp": lambda x: x.logcumsumexp(2),
    "sort": lambda x: x.sort(3)[0],
    "sorted map": lambda x: x.flatten(2).sort(2)[0].unflatten(2, x.shape[2:]),
    "places": lambda x: x.argsort(2).double(),
    "topk": lambda x: x.topk(WIDTH, 3)[0],
    "median": lambda x: x.median(3, keepdim=True)[0],
    "mode": lambda x: x.mode(2, keepdim=True)[0],
    "kthvalue": lambda x: x.kthvalue(3, 2, True)[0],
    "quantile": lambda x: x.quantile(0.4, 3, True),
    "quantiles": lambda x: x.quantile(torch.linspace(0, 1, WIDTH).double(), 3).movedim(0, 3),
    "extremes": lambda x: x.aminmax(dim=2, keepdim=True)[0],
    "nanmean": lambda x: x.nanmean((2, 3), keepdim=True),
    "spectrum": lambda x: torch.fft.fft(x, dim=2).abs(),
    "filtered": lambda x: torch.fft.irfft2(torch.fft.rfft2(x).exp(), x.shape[2:]),
    "filtered columns": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=2).square(), dim=2).real,
    "distances": lambda x: torch.cdist(tokens(x), BOOK).mT[:, :CHANNELS].unflatten(2, x.shape[2:]),
    "normalized": lambda x: F.normalize(x, dim=(1, 2, 3)),
    "deformed": lambda x: F.grid_sample(x, BASE + 0.3 * x.movedim(1, 3)[..., :2], align_corners=False),
    "written": lambda x: x.slice_scatter(x[..., :4].exp(), 3, 0, 4),
    "added": lambda x: x.index_add(3, torch.arange(WIDTH), x.exp()),
}  # fmt: skip


@pytest.mark.parametrize("rule", ["no-growth-mean", "growth=none"])
@pytest.mark.parametrize("name", IN_THEIR_PLACE)
@torch.no_grad()
def test_without_growth_nothing_comes_alive(name: str, rule: str) -> None:
    """Beside a map: what is computed from all positions has none, and what has positions has no more than before."""
    for mask in masks().values():
        (_, dead), (_, still_dead) = both(
            Model(lambda x: (x, x + IN_THEIR_PLACE[name](x))), rule, 0.0, features(), mask
        )
        assert not bool((dead & ~still_dead).any())
