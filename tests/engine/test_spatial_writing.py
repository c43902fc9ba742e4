"""Places that depend on the image, what is written where a map says so, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask, UnsupportedOperationError
from captum_ad._engine import Interpreter
from tests.engine.places import FEWER, GRID, HALF, RULES, SHAPE, SOME, Function, X, neighbor
from tests.networks import Apply


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
    """Its coordinates are integers but for rounding, which is no reason to read a neighbor."""
    grid = F.affine_grid(torch.eye(2, 3)[None], (1, 4, 6, 5), align_corners=False)
    ad = Interpreter(nn.Identity(), MaskRule(), 0.0, [grid])
    start = ad.start(X[:1], PositionMask(SOME[:1]))
    with ad:
        out = F.grid_sample(start, grid, align_corners=False)
    mask = ad.mask(out)
    assert mask is not None
    assert torch.equal(mask.kept.expand(1, 1, 6, 5), SOME[:1])


REFUSED: dict[str, tuple[Function, str]] = {
    "bicubic grid": (lambda x: F.grid_sample(x, GRID, "bicubic"), "bicubic"),
    "adaptive pool with indices": (lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0], "adaptive_max_pool"),
    "singular values": (lambda x: torch.linalg.svdvals(x), "svdvals"),
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
    "sum": (lambda x: torch.add(x, neighbor(x), out=torch.empty(SHAPE)), lambda x: x + neighbor(x)),
    "product": (lambda x: torch.mul(x, neighbor(x), out=torch.empty(SHAPE)), lambda x: x * neighbor(x)),
    "comparison": (lambda x: torch.gt(x, neighbor(x), out=torch.empty(SHAPE)), lambda x: (x > neighbor(x)).float()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_written_into_a_buffer(name: str) -> None:
    written, apart = (ADForward(Apply(f).eval())(X, mask=FEWER & HALF) for f in WRITTEN[name])
    assert torch.equal(written, apart)
    assert bool((apart == 0).any())


@pytest.mark.parametrize("name", ["singular values", "sort"])
def test_what_is_whole_may_be_ranked(name: str) -> None:
    """A vector behind a linear layer has no positions that could be missing."""
    functions = {"singular values": REFUSED["singular values"][0], "sort": lambda x: x.sort(3)[0]}
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
    with pytest.raises(UnsupportedOperationError, match="writes at an index"):
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
