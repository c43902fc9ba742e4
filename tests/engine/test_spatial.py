"""Invariants of each further operation by itself: in every spelling and dtype, and what of them is refused."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask
from captum_ad._engine import Interpreter
from tests.engine.places import FEWER, GRID, HALF, RULES, SHAPE, SOME, Function, X, neighbor
from tests.engine.spatial_graphs import HOLDS, MOVES, PICKED, PRODUCTS, SUMS
from tests.networks import Apply

INEXACT: dict[str, Function] = {  # of a whole sample, equal to torch's up to rounding
    "lerp": lambda x: x.lerp(neighbor(x), 0.3),
    "lerp, a map of weights": lambda x: torch.lerp(x, neighbor(x), x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, neighbor(x), x.flip(2), value=0.5),
    "addcdiv": lambda x: x.clone().addcdiv_(neighbor(x), 1 + x.flip(2).square()),
}
ALONE: dict[str, Function] = {
    **{f"interpolate, {mode}": lambda x, m=mode: F.interpolate(x, (9, 4), mode=m)
       for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")},
    "interpolate, antialiased": lambda x: F.interpolate(x, scale_factor=(0.5, 0.7), mode="bicubic", antialias=True),
    "interpolate, by name": lambda x: F.interpolate(input=x, scale_factor=2, mode="bilinear", align_corners=True),
    "grid sample": lambda x: F.grid_sample(x, GRID.to(x.dtype)[: len(x)], align_corners=False),
    "grid sample, nearest": lambda x: F.grid_sample(x, GRID.to(x.dtype)[: len(x)], "nearest", "reflection", True),
    "unfold": lambda x: F.unfold(x, 3, padding=1, dilation=2),
    "fold": lambda x: F.fold(F.unfold(x, 3, stride=2, padding=1), (6, 5), 3, stride=2, padding=1),
    "lp pool": lambda x: F.lp_pool2d(x.relu(), 2.0, 3, 2),
    "GeM": lambda x: F.adaptive_avg_pool2d(x.clamp(min=1e-6).pow(3), 1).pow(1 / 3),
    "soft pool": lambda x: F.avg_pool2d(x.exp() * x, 2) / F.avg_pool2d(x.exp(), 2),
    "var": lambda x: x.var((2, 3)),
    "var of one row": lambda x: x[:, :, :1].var((1, 2), unbiased=False),
    "std": lambda x: torch.std(x, dim=3, correction=1),
    "std and mean": lambda x: torch.cat(torch.std_mean(x, (2, 3)), 1),
    "max with indices": lambda x: torch.cat([part.to(x.dtype) for part in x.flatten(2).max(2)], 1),
    "min": lambda x: x.min(dim=-1, keepdim=True)[0],
    "prod": lambda x: x.prod(2),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "norm": lambda x: x.norm(p=2, dim=(2, 3)),
    "norm of order 1": lambda x: torch.norm(x, 1, 3),
    "linalg norms": lambda x: torch.linalg.norm(x, dim=1) + torch.linalg.vector_norm(x, ord=3, dim=1),
    "any, all": lambda x: ((x > 0).any(2) & (x > -1).all(2)).to(x.dtype),
    "not": lambda x: (~(x > 0)).to(x.dtype) + (x > 0).logical_not().to(x.dtype),
    "decided by the map": lambda x: torch.where(x > 0, x, neighbor(x)),
    "decided, a method": lambda x: x.where(neighbor(x) > 0, -1.0),
    "decided by a statistic": lambda x: torch.where(x.mean((2, 3), keepdim=True) > 0, x, -x),
    "filled": lambda x: x.masked_fill(neighbor(x) < 0, 0.5),
    "filled in place": lambda x: x.clone().masked_fill_(neighbor(x) < 0, 0.5),
    "clamped by a statistic": lambda x: x.clamp(max=x.mean((2, 3), keepdim=True)),
    "power of a number": lambda x: 2**x + torch.pow(x, exponent=2),
    "compared with a number": lambda x: (x >= 0.25).to(x.dtype) * x + (x < 0.5).to(x.dtype),
    "compared in place": lambda x: x.clone().gt_(0.1),
    "glu": lambda x: F.glu(x, dim=1) + F.glu(x.transpose(1, 2), 2).transpose(1, 2).sum(1, keepdim=True),
    "diff": lambda x: x.diff(n=2, dim=3),
    "rms norm": lambda x: F.rms_norm(x, (5,)),
    "layer norm": lambda x: F.layer_norm(x, (6, 5)),
    "group norm": lambda x: F.group_norm(x, 2, torch.ones(4, dtype=x.dtype)),
    "instance norm": lambda x: F.instance_norm(x, bias=torch.ones(4, dtype=x.dtype)),
    "rms norm over channels": lambda x: F.rms_norm(x.movedim(1, 3), (4,), eps=1e-3).movedim(3, 1),
    "log softmax": lambda x: F.log_softmax(x, dim=1),
    "relu in place": lambda x: F.relu(x.clone(), inplace=True) + x.clone().relu_() + torch.relu(x),
    **{name: f for name, f in MOVES.items() if name != "advanced indices"},
    **{name: lambda x, f=f: f(x, neighbor(x)) for name, f in {**SUMS, **PRODUCTS}.items()},
}  # fmt: skip
DOUBLES = {"greater", "at most", "equal", "either", "one of both", "both"}  # which they return
EVERY = ALONE | INEXACT


def run(name: str, rule: MaskRule, x: Tensor = X, mask: Tensor = SOME, tau: float = 0.0) -> Tensor:
    return ADForward(Apply(EVERY[name]).eval(), rule, tau=tau)(x, mask=mask)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", EVERY)
def test_a_whole_sample_is_the_models(name: str, rule: MaskRule) -> None:
    mask = SOME.clone()
    mask[1] = True
    out, expected = run(name, rule, mask=mask, tau=0.3)[1], EVERY[name](X)[1]
    if name in INEXACT:
        torch.testing.assert_close(out, expected)
    else:
        assert torch.equal(out.nan_to_num(7.0), expected.nan_to_num(7.0))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", EVERY)
def test_missing_means_missing(name: str, rule: MaskRule) -> None:
    out = run(name, rule)
    for junk in (1e30, -math.inf, math.nan):
        assert torch.equal(run(name, rule, torch.where(SOME, X, junk)), out)
    assert bool(out.isfinite().all())
    assert bool(run(name, rule, mask=torch.zeros(6, 5)).isfinite().all())


@pytest.mark.parametrize("name", EVERY)
def test_batches_do_not_mix(name: str) -> None:
    x = X.double()
    for rule in RULES:
        together = run(name, rule, x)
        for i in range(3):
            if "grid" not in name or i == 0:  # the grid is of the first samples
                torch.testing.assert_close(run(name, rule, x[i : i + 1], SOME[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", EVERY)
def test_masks_are_monotone(name: str, rule: MaskRule) -> None:
    def dead(mask: Tensor) -> Tensor:
        ad = Interpreter(nn.Identity(), rule, 0.3, [GRID, HOLDS, PICKED])
        start = ad.start(X, PositionMask(mask))
        with torch.no_grad(), ad:
            out = EVERY[name](start)
        found = ad.mask(out)
        return torch.zeros(out.shape, dtype=torch.bool) if found is None else found.dead.expand(out.shape)

    assert not bool((dead(SOME) & ~dead(FEWER)).any())


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"compared in place", "heaviside", *DOUBLES}))
def test_gradients_are_finite_and_zero_at_missing_features(name: str) -> None:
    for rule in RULES:
        x = torch.where(SOME, X, 1e30).requires_grad_()
        out = run(name, rule, x)
        if out.requires_grad:
            (found,) = torch.autograd.grad(out.square().sum() + out.sum(), x)
            assert bool(found.isfinite().all())
            assert bool((found[~SOME.expand(SHAPE)] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [n for n in ALONE if n.startswith(("inter", "grid", "std", "var", "norm", "rms"))])
def test_half_precision_has_the_same_mask(name: str, dtype: torch.dtype) -> None:
    try:
        expected = EVERY[name](X.to(dtype))
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented for" not in str(error):
            raise
        pytest.skip(f"torch has no kernel for it: {error}")
    mask = SOME.clone()
    mask[1] = True
    out, wide = run(name, RULES[2], X.to(dtype), mask), run(name, RULES[2], X.to(dtype).float(), mask)
    assert torch.equal(out[1], expected[1])
    torch.testing.assert_close(out.float(), wide, rtol=0.05, atol=0.05)
    assert torch.equal(out == 0, wide == 0)


PAIRS: dict[str, tuple[Function, Function]] = {
    "addcmul": (INEXACT["addcmul"], lambda x: x + 0.5 * (neighbor(x) * x.flip(2))),
    "addcdiv": (INEXACT["addcdiv"], lambda x: x + neighbor(x) / (1 + x.flip(2).square())),
    "lerp to a statistic": (
        lambda x: torch.lerp(x, x.mean((2, 3), keepdim=True), 0.25),
        lambda x: x + 0.25 * (x.mean((2, 3), keepdim=True) - x),
    ),
    "fold of unfold": (
        lambda x: F.fold(F.unfold(x, 2, stride=2), (6, 4), 2, stride=2),
        lambda x: x[..., :4],
    ),
    "area": (lambda x: F.interpolate(x, (4, 4), mode="area"), lambda x: F.adaptive_avg_pool2d(x, 4)),
    "deviation": (lambda x: x.std((2, 3)), lambda x: x.var((2, 3)).sqrt()),
    "mean": (lambda x: torch.var_mean(F.pad(x, (1, 0)), 3)[1], lambda x: F.pad(x, (1, 0)).mean(3)),
    "any": (lambda x: (x > 0).any(3).float(), lambda x: (x > 0).float().amax(3)),
    "maximum of everything": (lambda x: x.max(), lambda x: x.amax()),
    "where": (lambda x: torch.where(HALF, x, 0.0), lambda x: F.pad(x[..., :2], (0, 3))),
    "clamped": (lambda x: x.clamp(min=neighbor(x)), lambda x: torch.maximum(x, neighbor(x))),
    "softmin": (lambda x: (-x).softmax(1), lambda x: F.log_softmax(-x, 1).exp()),
    "global lp pool": (lambda x: F.lp_pool2d(x, 2, (6, 5)), lambda x: x.norm(dim=(2, 3), keepdim=True)),
    "cubes": (lambda x: x**3, lambda x: x * x * x),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: MaskRule) -> None:
    one, other = (ADForward(Apply(f).eval(), rule)(X, mask=SOME) for f in PAIRS[name])
    torch.testing.assert_close(one, other)
    assert bool(one.any())


# Spatial transformers


# Refusals
