"""Operations that only respell others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import UnsupportedOperationError
from tests.engine.rules.spelled import CHANNELS, HEIGHT, WIDTH, Pairs, assert_agree, every_preset, masks, run

generator = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(CHANNELS, 5, generator=generator).double()
BILINEAR = torch.randn(3, CHANNELS, CHANNELS, generator=generator).double()
VECTOR, BIAS = WEIGHT[:, 0].clone(), WEIGHT[0].clone()
SCALE, SHIFT = torch.linspace(1, 2, CHANNELS).double(), torch.linspace(-1, 1, CHANNELS).double()
GRID = F.affine_grid(torch.tensor([[[0.5, 0.1, 0.2], [0.0, 0.7, -0.3]]]).expand(2, 2, 3), (2, 1, 5, 5), False).double()


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def rows(x: Tensor) -> Tensor:
    """Positions of one sample."""
    return tokens(x)[0]


def square(x: Tensor) -> Tensor:
    return x[..., :HEIGHT]


PAIRS: Pairs = {
    "new": (lambda x: x * x.new([2.0]) + x.new(1).zero_(), lambda x: 2 * x),
    "type": (lambda x: x.type(torch.float32).type(x.type()), lambda x: x.float().double()),
    "as_tensor": (lambda x: torch.as_tensor(x) * torch.as_tensor([2.0]), lambda x: x * 2),
    "asarray": (lambda x: torch.asarray(x, dtype=torch.float32), lambda x: x.float()),
    "atleast": (lambda x: torch.atleast_3d(x.mean((2, 3))), lambda x: x.mean((2, 3))[..., None]),
    "atleast, many": (
        lambda x: torch.atleast_2d(x, x.mean((2, 3)), torch.ones(3)),
        lambda x: (x, x.mean((2, 3)), torch.ones(1, 3)),
    ),
    "broadcast_tensors": (
        lambda x: torch.mul(*torch.broadcast_tensors(x, SCALE[:, None, None])),
        lambda x: x * SCALE[:, None, None],
    ),
    "hsplit": (lambda x: torch.hsplit(x, 2), lambda x: x.chunk(2, 1)),
    "vsplit": (lambda x: x[:, 0].vsplit(2), lambda x: x[:, 0].chunk(2, 0)),
    "dsplit": (lambda x: torch.dsplit(x, [1, 4]), lambda x: x.tensor_split([1, 4], 2)),
    "split_with_sizes": (lambda x: x.split_with_sizes([3, 5], 3), lambda x: x.split([3, 5], 3)),
    "unsafe_split": (lambda x: torch.unsafe_split(x, 3, 3), lambda x: x.split(3, 3)),
    "copies of views": (
        lambda x: (torch.permute_copy(x, (0, 2, 3, 1)), *torch.unbind_copy(x, 1), torch.expand_copy(x, x.shape)),
        lambda x: (x.permute(0, 2, 3, 1), *x.unbind(1), x),
    ),
    "constant_pad_nd": (
        lambda x: torch.constant_pad_nd(x, (1, 0, 2, 1), 3.0),
        lambda x: F.pad(x, (1, 0, 2, 1), value=3.0),
    ),
    "linalg.diagonal": (lambda x: torch.linalg.diagonal(x, offset=1), lambda x: x.diagonal(1, -2, -1)),
    "diag_embed": (
        lambda x: torch.diag_embed(x),
        lambda x: torch.zeros(*x.shape, 8).double().diagonal_scatter(x, 0, 3, 4),
    ),
    "diag": (lambda x: square(x)[0, 0].diag(1).diag(), lambda x: torch.diagflat(square(x)[0, 0].diagonal(1))),
    "cross": (
        lambda x: torch.linalg.cross(x[:, :3], x[:, :3].roll(3, 3), dim=1),
        lambda x: torch.stack([
            x[:, i] * x[:, j].roll(3, 2) - x[:, j] * x[:, i].roll(3, 2) for i, j in ((1, 2), (2, 0), (0, 1))
        ], 1),
    ),
    "cross, of the first of three": (
        lambda x: torch.cross(x[:, :3], x[:, :3].relu()), lambda x: torch.linalg.cross(x[:, :3], x[:, :3].relu(), dim=1)
    ),
    "mH": (lambda x: x.mH, lambda x: x.mT),
    "conj": (lambda x: torch.conj(x).resolve_conj().resolve_neg().conj_physical(), lambda x: x),
    "nansum": (lambda x: x.nansum((2, 3)), lambda x: x.sum((2, 3))),
    "nanmean": (lambda x: x.nanmean((2, 3)), lambda x: x.mean((2, 3))),
    "nanmean of rows": (lambda x: x.nanmean(3, keepdim=True), lambda x: x.mean(3, keepdim=True)),
    "aminmax": (lambda x: tuple(x.aminmax(dim=3)), lambda x: (x.amin(3), x.amax(3))),
    "count_nonzero": (lambda x: x.relu().count_nonzero((2, 3)), lambda x: (x.relu() != 0).sum((2, 3))),
    "trace": (lambda x: torch.trace(square(x)[0, 0]), lambda x: square(x)[0, 0].diagonal().sum()),
    "matrix_norm": (lambda x: torch.linalg.matrix_norm(x), lambda x: x.norm(dim=(2, 3))),
    "masked_select": (
        lambda x: x[:1].masked_select(torch.arange(8) > 2),
        lambda x: x[:1][(torch.arange(8) > 2).expand(1, CHANNELS, HEIGHT, 8)],
    ),
    "take": (lambda x: x[:1].take(torch.tensor([3, 9, 3])), lambda x: x[:1].reshape(-1)[torch.tensor([3, 9, 3])]),
    "layer_norm": (
        lambda x: torch.layer_norm(x.movedim(1, 3), [CHANNELS], SCALE, SHIFT),
        lambda x: F.layer_norm(x.movedim(1, 3), [CHANNELS], SCALE, SHIFT),
    ),
    "group_norm": (lambda x: torch.group_norm(x, 2, SCALE), lambda x: F.group_norm(x, 2, SCALE)),
    "batch_norm": (
        lambda x: torch.batch_norm(x, SCALE, SHIFT, SHIFT, SCALE, False, 0.1, 1e-5, False),
        lambda x: F.batch_norm(x, SHIFT, SCALE, SCALE, SHIFT),
    ),
    "instance_norm": (
        lambda x: torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
        lambda x: F.instance_norm(x),
    ),
    "grid_sampler": (
        lambda x: torch.grid_sampler(x, GRID, 0, 1, False),
        lambda x: F.grid_sample(x, GRID, "bilinear", "border", False),
    ),
    "ldexp": (lambda x: torch.ldexp(x, torch.tensor(2)), lambda x: x * 4),
    "complex": (lambda x: torch.complex(x, x.roll(3, 3)).abs(), lambda x: torch.hypot(x, x.roll(3, 3))),
    "linalg.matmul": (lambda x: torch.linalg.matmul(x, x.mT), lambda x: x @ x.mT),
    "linalg.matmul, constant": (
        lambda x: torch.linalg.matmul(tokens(x), WEIGHT),
        lambda x: F.linear(tokens(x), WEIGHT.T),
    ),
    "vecdot": (
        lambda x: torch.linalg.vecdot(x, x.roll(3, 3), dim=1),
        lambda x: torch.einsum("nchw,nchw->nhw", x, x.roll(3, 3)),
    ),
    "inner": (lambda x: torch.inner(tokens(x), WEIGHT.T), lambda x: torch.einsum("npc,kc->npk", tokens(x), WEIGHT.T)),
    "mv": (lambda x: torch.mv(rows(x), VECTOR), lambda x: (rows(x) @ VECTOR[:, None]).squeeze(1)),
    "dot": (
        lambda x: torch.dot(x[0, 0, 0], x[0, 1, 2]),
        lambda x: torch.einsum("i,i->", x[0, 0, 0], x[0, 1, 2]),
    ),
    "outer": (lambda x: torch.outer(x[0, 0, 0], x[0, 1, 2]), lambda x: x[0, 0, 0][:, None] * x[0, 1, 2]),
    "multi_dot": (
        lambda x: torch.linalg.multi_dot([rows(x), WEIGHT, WEIGHT.T]),
        lambda x: rows(x) @ WEIGHT @ WEIGHT.T,
    ),
    "addmm": (lambda x: torch.addmm(BIAS, rows(x), WEIGHT), lambda x: F.linear(rows(x), WEIGHT.T, BIAS)),
    "addmm, scaled": (
        lambda x: torch.addmm(BIAS, rows(x), WEIGHT, beta=2, alpha=3),
        lambda x: 2 * BIAS + 3 * (rows(x) @ WEIGHT),
    ),
    "addmv": (
        lambda x: torch.addmv(rows(x)[:, 0], rows(x), VECTOR),
        lambda x: rows(x)[:, 0] + torch.mv(rows(x), VECTOR),
    ),
    "addr": (
        lambda x: torch.addr(torch.ones(WIDTH, WIDTH).double(), x[0, 0, 0], x[0, 1, 2]),
        lambda x: 1 + torch.outer(x[0, 0, 0], x[0, 1, 2]),
    ),
    "bilinear": (
        lambda x: F.bilinear(tokens(x), tokens(x).flip(1), BILINEAR, VECTOR[:3]),
        lambda x: torch.einsum("npi,oij,npj->npo", tokens(x), BILINEAR, tokens(x).flip(1)) + VECTOR[:3],
    ),
    "pairwise_distance": (
        lambda x: F.pairwise_distance(tokens(x), tokens(x).roll(3, 1), 2.0, 0.0),
        lambda x: (tokens(x) - tokens(x).roll(3, 1)).norm(dim=-1),
    ),
    "dist": (lambda x: torch.dist(x[:1], x[:1].roll(3, 3)), lambda x: (x[:1] - x[:1].roll(3, 3)).norm()),
    "stacks that add dimensions": (
        lambda x: torch.dstack([x[0, 0], x[0, 1]]), lambda x: torch.stack([x[0, 0], x[0, 1]], 2)
    ),
    "rows of vectors": (
        lambda x: torch.vstack([x[0, 0, 0], x[0, 1, 2]]), lambda x: torch.stack([x[0, 0, 0], x[0, 1, 2]])
    ),
    "columns of vectors": (
        lambda x: torch.column_stack([x[0, 0, 0], x[0, 1].mT]),
        lambda x: torch.cat([x[0, 0, 0][:, None], x[0, 1].mT], 1),
    ),
    "shifts": (lambda x: x.long() << 1, lambda x: x.long() * 2),
    "isclose": (lambda x: x.isclose(x.round(), atol=0.1), lambda x: (x - x.round()).abs() <= 0.1),
}  # fmt: skip


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def test_a_tensor_of_a_list_of_features_is_refused() -> None:
    for function in (torch.as_tensor, torch.tensor):
        with pytest.raises(UnsupportedOperationError, match=function.__name__):
            run(lambda x, make=function: x * make([x[0, 0, 0, 7]]), masks()["half"])


def test_copies_of_features_by_an_old_constructor_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="copies features"):
        run(lambda x: x.new(x), masks()["half"])


def test_norms_of_matrices_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="norm of matrices"):
        run(lambda x: torch.linalg.matrix_norm(x, 2), masks()["half"])
