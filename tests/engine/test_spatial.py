"""Invariants of each further operation by itself: in every spelling and dtype, and what of them is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, FeatureMask, MaskRule, UnsupportedOperationError
from captum_ad.engine import Interpreter
from tests.engine.spatial_graphs import HOLDS, MOVES, PICKED, PRODUCTS, SUMS
from tests.networks import Apply

Function = Callable[[Tensor], Tensor]
SHAPE = (3, 4, 6, 5)
X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
SOME = torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(1)) < 0.6
FEWER = SOME & (torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.6)
HALF = (torch.arange(5) < 2).expand(6, 5)
GRID = (torch.rand(3, 4, 4, 2, generator=torch.Generator().manual_seed(3)) - 0.5) * 2.5
RULES = [
    MaskRule(),
    MaskRule("none", border="mean"),
    MaskRule("none", "intersection", "active"),
    MaskRule("window", "union", "active", "mean"),
]


def neighbour(x: Tensor) -> Tensor:
    """A map with another mask."""
    return F.avg_pool2d(x, 3, 1, 1)


INEXACT: dict[str, Function] = {  # of a whole sample, equal to torch's up to rounding
    "lerp": lambda x: x.lerp(neighbour(x), 0.3),
    "lerp, a map of weights": lambda x: torch.lerp(x, neighbour(x), x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, neighbour(x), x.flip(2), value=0.5),
    "addcdiv": lambda x: x.clone().addcdiv_(neighbour(x), 1 + x.flip(2).square()),
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
    "decided by the map": lambda x: torch.where(x > 0, x, neighbour(x)),
    "decided, a method": lambda x: x.where(neighbour(x) > 0, -1.0),
    "decided by a statistic": lambda x: torch.where(x.mean((2, 3), keepdim=True) > 0, x, -x),
    "filled": lambda x: x.masked_fill(neighbour(x) < 0, 0.5),
    "filled in place": lambda x: x.clone().masked_fill_(neighbour(x) < 0, 0.5),
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
    **{name: lambda x, f=f: f(x, neighbour(x)) for name, f in {**SUMS, **PRODUCTS}.items()},
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
        start = ad.start(X, FeatureMask(mask))
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
    "addcmul": (INEXACT["addcmul"], lambda x: x + 0.5 * (neighbour(x) * x.flip(2))),
    "addcdiv": (INEXACT["addcdiv"], lambda x: x + neighbour(x) / (1 + x.flip(2).square())),
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
    "clamped": (lambda x: x.clamp(min=neighbour(x)), lambda x: torch.maximum(x, neighbour(x))),
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


class Transformer(nn.Module):
    """A grid that is computed from the features themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Linear(4, 6)
        nn.init.normal_(self.where.weight, std=0.1)
        self.where.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])

    def forward(self, x: Tensor) -> Tensor:
        theta = self.where(x.mean((2, 3))).view(-1, 2, 3)
        return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def test_a_spatial_transformer() -> None:
    torch.manual_seed(0)
    model = Transformer().eval()
    ad = ADForward(model, "paper")
    out = ad(X, mask=SOME)
    clean = torch.where(SOME, X, 0)
    theta = model.where(clean.mean((2, 3))).view(-1, 2, 3)
    grid = F.affine_grid(theta, X.shape, align_corners=False)
    read = F.grid_sample(SOME.float(), grid, align_corners=False) > 0
    expected = F.grid_sample(clean, grid, align_corners=False)
    assert not bool(read.all())
    assert torch.equal(out, expected.where(read, 0))
    assert torch.equal(ad(torch.where(SOME, X, math.nan), mask=SOME), out)


def test_an_identical_grid_leaves_the_mask() -> None:
    """Its coordinates are integers but for rounding, which is no reason to read a neighbour."""
    grid = F.affine_grid(torch.eye(2, 3)[None], (1, 4, 6, 5), align_corners=False)
    ad = Interpreter(nn.Identity(), MaskRule(), 0.0, [grid])
    start = ad.start(X[:1], FeatureMask(SOME[:1]))
    with ad:
        out = F.grid_sample(start, grid, align_corners=False)
    mask = ad.mask(out)
    assert mask is not None
    assert torch.equal(mask.kept.expand(1, 1, 6, 5), SOME[:1])


# Refusals

REFUSED: dict[str, tuple[Function, str]] = {
    "bicubic grid": (lambda x: F.grid_sample(x, GRID, "bicubic"), "bicubic"),
    "adaptive pool with indices": (lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0], "adaptive_max_pool"),
    "quantile": (lambda x: x.quantile(0.5, 3), "quantile"),
    "unique": (lambda x: x.unique(), "unique"),
    "nonzero": (lambda x: torch.where(x > 0)[0], "where"),
    "boolean index": (lambda x: x[x > 0], "getitem"),
    "indices from data": (lambda x: x.gather(3, (x > 0).long()), "gather"),
    "indices from whole data": (
        lambda x: torch.take_along_dim(x, F.linear(x.mean((2, 3)), torch.ones(1, 4)).long()[..., None, None] % 2, 3),
        "computed from features",
    ),
    "value from data": (lambda x: x.masked_fill(HALF, x.mean()), "value that is computed"),
    "matrix norm": (lambda x: torch.linalg.norm(x, 2, (2, 3)), "norm of matrices"),
    "nuclear norm": (lambda x: torch.norm(x, "nuc", (2, 3)), "norm of matrices"),
    "lp pool of negative order": (lambda x: F.lp_pool2d(x, -1, 2), "lp_pool2d"),
    "softmax without dim": (lambda x: F.softmax(x), "softmax"),
    "diff with more": (lambda x: x.diff(dim=3, append=x[..., :1]), "diff"),
    "clamp into out": (lambda x: torch.clamp(x, 0, 1, out=torch.empty(SHAPE)), "clamp"),
    "mean into out": (lambda x: torch.mean(x, (2, 3), out=torch.empty(3, 4)), "out="),
    "sum into out": (lambda x: torch.sum(x, 3, out=torch.empty(3, 4, 6)), "out="),
    "gather into out": (
        lambda x: torch.gather(x, 3, torch.zeros(SHAPE, dtype=torch.long), out=torch.empty(SHAPE)), "gather"
    ),
    "norm into out": (lambda x: torch.linalg.vector_norm(x, dim=3, out=torch.empty(3, 4, 6)), "norm"),
    "where into out": (lambda x: torch.where(HALF, x, x, out=torch.empty(SHAPE)), "where"),
    "var into out": (lambda x: torch.var(x, 3, correction=1, out=torch.empty(3, 4, 6)), "var"),
    "int()": (lambda x: x * int(x[0, 0, 0, 0]), "__int__"),
    "bool()": (lambda x: x if bool(x[0, 0, 0, 0]) else -x, "__bool__"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, words = REFUSED[name]
    holes = SOME & HALF
    with pytest.raises(UnsupportedOperationError, match=words):
        ADForward(Apply(function).eval())(X, mask=holes)


WRITTEN: dict[str, tuple[Function, Function]] = {
    "exp": (lambda x: torch.exp(x, out=torch.empty(SHAPE)), torch.exp),
    "sum": (lambda x: torch.add(x, neighbour(x), out=torch.empty(SHAPE)), lambda x: x + neighbour(x)),
    "product": (lambda x: torch.mul(x, neighbour(x), out=torch.empty(SHAPE)), lambda x: x * neighbour(x)),
    "comparison": (lambda x: torch.gt(x, neighbour(x), out=torch.empty(SHAPE)), lambda x: (x > neighbour(x)).float()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_written_into_a_buffer(name: str) -> None:
    written, apart = (ADForward(Apply(f).eval())(X, mask=FEWER & HALF) for f in WRITTEN[name])
    assert torch.equal(written, apart)
    assert bool((apart == 0).any())


@pytest.mark.parametrize("name", ["quantile", "sort"])
def test_what_is_whole_may_be_ranked(name: str) -> None:
    """A vector behind a linear layer has no positions that could be missing."""
    functions = {"quantile": REFUSED["quantile"][0], "sort": lambda x: x.sort(3)[0]}
    function, model = functions[name], nn.Linear(4, 5)

    def ranked(x: Tensor, linear: nn.Module) -> Tensor:
        logits = linear(x.mean((2, 3)))[:, :, None, None].expand(3, 5, 2, 2).float()
        return function(logits).float()

    torch.manual_seed(0)
    mask = SOME.clone()
    mask[1] = True
    out = ADForward(Apply(ranked, model).eval())(X, mask=mask)
    assert torch.equal(out[1], ranked(X, model)[1])


def written(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0.5] = 1.0
    return x


@torch.no_grad()
def test_writing_where_a_map_says_so_is_filling() -> None:
    """What stands at a dead position does not decide about it."""
    for rule in RULES:
        found = ADForward(Apply(written).eval(), rule)(X, mask=SOME)
        assert torch.equal(found, ADForward(Apply(lambda x: x.masked_fill(x < 0.5, 1.0)).eval(), rule)(X, mask=SOME))
        assert bool((found[~SOME.expand(SHAPE)] == 0).all())


def written_in_part(x: Tensor) -> Tensor:
    x = x.clone()
    x[..., x[0, 0, 0] < 0.5] = 1.0
    return x


def test_writing_into_a_part_where_a_map_says_so_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="writes where"):
        ADForward(Apply(written_in_part).eval())(X, mask=HALF)


@torch.no_grad()
def test_a_constant_at_a_dead_position_of_a_sum_is_not_read() -> None:
    """One operand is padding there, the other is dead: the sum is dead, though not zero before it is made so."""
    y = torch.randn(3, 4, 8, 7, generator=torch.Generator().manual_seed(4))
    part = (SOME[:, 0], torch.zeros(3, 8, 7, dtype=torch.bool))

    def padded(x: Tensor, y: Tensor) -> Tensor:
        return (F.pad(x, (1, 1, 1, 1), value=5.0) + y).mean((2, 3))

    found = ADForward(Apply(padded).eval(), "paper")(X, y, mask=part)
    torch.testing.assert_close(found, X.where(SOME, 0).sum((2, 3)) / 56)
