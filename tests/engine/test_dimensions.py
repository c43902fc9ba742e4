"""Dimensions of a result are what it depends on along them, whatever orders, transforms, writes or reads between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import MaskRule, PositionMask
from captum_ad._engine.axes import Axes, Role, role_of
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.provenance import Provenance
from tests.engine.test_axes import SHAPE, VIEWS

Function = Callable[[Tensor], Tensor]
generator = torch.Generator().manual_seed(0)
PLACES, HALVES = torch.tensor([2, 0, 1]), torch.arange(6) // 2
SHARES = torch.tensor([0.1, 0.8]).double()
BOOK = torch.rand(5, 4, generator=generator).double()
MATRIX = torch.rand(3, 5, generator=generator).double()
TABLE = torch.rand(997, 5, generator=generator)
GRID = (torch.rand(1, 5, 4, 2, generator=generator).double() * 2 - 1).expand(2, -1, -1, -1)
PICTURE = torch.rand(2, 5, 6, 3, generator=generator).double()
WINDOW = torch.linspace(0.5, 1, 4).double()
BASE = F.affine_grid(torch.eye(2, 3)[None].double(), [1, 1, 6, 3], False)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape or SHAPE).double()


def spectrogram(x: Tensor) -> Tensor:
    return torch.stft(x.mean(1).flatten(1), 4, 2, window=WINDOW, return_complex=True)


def chosen(x: Tensor) -> Tensor:
    return (x.sum((2, 3)) * 1e4).long() % len(TABLE)


def columns(x: Tensor) -> Tensor:
    out = zeros()
    for i, column in enumerate(x.unbind(-1)):
        out[..., i] = column.exp()
    return out


def branches(x: Tensor) -> Tensor:
    out = zeros(2, 2, 4, 6, 3)
    out[:, 0], out[:, 1] = x, x.exp()
    return out


def written_at(x: Tensor) -> Tensor:
    out = zeros()
    out[:, :, [4, 1, 0]] = x[:, :, :3]
    return out


OPERATIONS: dict[str, Function] = {
    "cumsum": lambda x: x.cumsum(2),
    "cummax": lambda x: x.cummax(3)[0],
    "sort": lambda x: x.sort(2)[0],
    "argsort": lambda x: x.argsort(-1).double(),
    "msort": lambda x: x.movedim(2, 0).msort(),
    "topk": lambda x: tokens(x).topk(4, 1)[0],
    "topk of channels": lambda x: x.topk(2, dim=1).values,
    "kthvalue": lambda x: x.kthvalue(2)[0],
    "median": lambda x: x.median(2, keepdim=True)[0],
    "median of all": lambda x: x[0].median(),
    "quantile": lambda x: x.quantile(0.4, 3),
    "quantiles": lambda x: x.quantile(SHARES, 2),
    "quantiles, kept dimensions": lambda x: x.quantile(q=SHARES, dim=1, keepdim=True),
    "mode": lambda x: x.mode()[0],
    "aminmax": lambda x: x.aminmax(dim=2)[1],
    "count_nonzero": lambda x: x.relu().count_nonzero((2, 3)).double(),
    "trace": lambda x: x[0, 0].trace(),
    "matrix_norm": lambda x: torch.linalg.matrix_norm(x),
    "frobenius_norm": lambda x: torch.frobenius_norm(x, (1, 3)),
    "diff": lambda x: x.diff(dim=2),
    "fft": lambda x: torch.fft.fft(x, dim=2).abs(),
    "fft of channels": lambda x: torch.fft.rfft(x, dim=1).abs(),
    "fft2": lambda x: torch.fft.fft2(x).abs(),
    "rfftn": lambda x: torch.fft.rfftn(x, s=(4, 3)).abs(),
    "there and back": lambda x: torch.fft.irfft2(torch.fft.rfft2(x).exp(), x.shape[2:]),
    "fftshift": lambda x: torch.fft.fftshift(x, (2,)),
    "stft": lambda x: spectrogram(x).abs(),
    "stft, parts": lambda x: torch.view_as_real(spectrogram(x) * (1 + 0.5j)),
    "istft": lambda x: torch.istft(spectrogram(x).square(), 4, 2, window=WINDOW),
    "complex and back": lambda x: torch.view_as_complex(torch.view_as_real(torch.complex(x, x.flip(3)))).abs(),
    "rot90": lambda x: x.rot90(1, (1, 3)),
    "half a turn": lambda x: x.rot90(2, (1, 3)),
    "cdist": lambda x: torch.cdist(tokens(x), tokens(x)[:, :5]),
    "codes": lambda x: torch.cdist(tokens(x), BOOK),
    "to codes": lambda x: torch.cdist(BOOK, tokens(x)),
    "pairwise_distance": lambda x: F.pairwise_distance(x, x.flip(3).exp()),
    "cosine_similarity": lambda x: F.cosine_similarity(x, x.flip(3).exp(), 2),
    "dist": lambda x: torch.dist(x[0], x[0].flip(2).exp()),
    "cross": lambda x: torch.linalg.cross(x, x.exp()),
    "vecdot": lambda x: torch.linalg.vecdot(x, x.flip(3), dim=1),
    "inner": lambda x: torch.inner(x, MATRIX.T),
    "outer": lambda x: torch.outer(x[0, 0, 0], x[0, :, 1, 1]),
    "matrix and vector": lambda x: torch.mv(x[0, 0], MATRIX[:, 0]),
    "vector and matrix": lambda x: x[0, 0, 0] @ MATRIX,
    "addmm": lambda x: torch.addmm(x[0, 0, :, :1], x[0, 0], MATRIX),
    "baddbmm": lambda x: torch.baddbmm(zeros(2, 18, 5), tokens(x), BOOK.mT.expand(2, 4, 5)),
    "addbmm": lambda x: torch.addbmm(zeros(6, 6), x[0], x[0].mT.exp()),
    "bilinear": lambda x: F.bilinear(tokens(x), tokens(x).exp(), torch.ones(3, 4, 4).double()),
    "diag": lambda x: x[0, 0, 0].diag(),
    "diag of a matrix": lambda x: x[0, 0].diag(),
    "diag_embed": lambda x: x.diag_embed(1),
    "linalg.diagonal": lambda x: torch.linalg.diagonal(x),
    "index_copy": lambda x: zeros().index_copy(3, PLACES, x),
    "index_add": lambda x: zeros(2, 4, 3, 3).index_add(2, HALVES, x),
    "index_reduce": lambda x: zeros(2, 4, 3, 3).index_reduce(2, HALVES, x, "amax", include_self=False),
    "scatter": lambda x: zeros().scatter(3, PLACES.expand(2, 4, 6, 3), x),
    "scatter_add": lambda x: x.scatter_add(3, PLACES.expand(2, 4, 6, 3), x.flip(2)),
    "scatter_reduce": lambda x: zeros(2, 4, 3, 3).scatter_reduce(2, HALVES[:, None].expand(2, 4, 6, 3), x, "sum"),
    "index_put": lambda x: zeros(3, 2, 4, 6).index_put([PLACES], x.movedim(3, 0)),
    "select_scatter": lambda x: zeros().select_scatter(x.exp()[..., 1], 3, 2),
    "slice_scatter": lambda x: zeros(2, 4, 6, 6).slice_scatter(x, 3, 1, 4),
    "diagonal_scatter": lambda x: zeros(2, 4, 3, 3).diagonal_scatter(x[:, :, 0], 0, 2, 3),
    "column by column": columns,
    "branch by branch": branches,
    "written at": written_at,
    "hsplit": lambda x: x.hsplit(2)[1],
    "dsplit": lambda x: x.dsplit([1, 4])[1],
    "split_with_sizes": lambda x: x.split_with_sizes([2, 4], 2)[1],
    "atleast_3d": lambda x: torch.atleast_3d(x.mean((2, 3))),
    "hstack": lambda x: torch.hstack([x[0, 0, 0], x[0, 0, 1]]),
    "dstack": lambda x: torch.dstack([x[0, 0], x[0, 1]]),
    "column_stack": lambda x: torch.column_stack([x.mean((1, 2, 3)), x.mean((1, 2))]),
    "broadcast_tensors": lambda x: torch.broadcast_tensors(x.mean((2, 3), True), x)[0],
    "take": lambda x: x[:1, :1].take(torch.tensor([3, 9, 12])),
    "masked_select": lambda x: x[:1, :1].masked_select(torch.arange(3) > 0),
    "permute_copy": lambda x: torch.permute_copy(x, (1, 3, 0, 2)),
    "constant_pad_nd": lambda x: torch.constant_pad_nd(x, (1, 0, 2, 1)),
    "interpolate": lambda x: F.interpolate(x, (9, 5), mode="nearest"),
    "pool with indices": lambda x: F.max_pool2d(x, 2, 1, return_indices=True)[1].double(),
    "unpool": lambda x: F.max_unpool2d(x, torch.arange(18).reshape(6, 3).expand(SHAPE) * 4, 2, output_size=(12, 6)),
    "grid_sample": lambda x: F.grid_sample(x, GRID, align_corners=False),
    "grid_sampler": lambda x: torch.grid_sampler(x, GRID, 0, 0, False),
    "flow over constants": lambda x: F.grid_sample(
        PICTURE, BASE + 0.1 * x.movedim(1, 3)[..., :2], align_corners=False
    ),
    "attention": lambda x: nn.functional.multi_head_attention_forward(
        *[x.flatten(2).permute(2, 0, 1)] * 3, 4, 2, torch.ones(12, 4).double(), None, None, None, False, 0.0,
        torch.eye(4).double(), None, need_weights=False)[0],
    "attention weights": lambda x: nn.functional.multi_head_attention_forward(
        x.flatten(2).permute(2, 0, 1), *[x[..., :2].flatten(2).permute(2, 0, 1)] * 2, 4, 2,
        torch.eye(4).repeat(3, 1).double(), None, None, None, False, 0.0, torch.eye(4).double(), None)[1],
    "a cell": lambda x: torch.gru_cell(x.mean((2, 3)), zeros(2, 3), zeros(9, 4) + 1, zeros(9, 3)),
    "an embedding": lambda x: F.embedding(chosen(x), TABLE),
    "a table": lambda x: TABLE[chosen(x)],
}  # fmt: skip


def follow(function: Function, masked: bool = True) -> tuple[Axes | None, Tensor]:
    """What the engine says of the dimensions of a result."""
    ad = Interpreter(nn.Identity(), MaskRule(), 0.0)
    kept = torch.rand(2, 1, 6, 3, generator=torch.Generator().manual_seed(1)) > 0.3
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)).double()
    start = ad.start(x, PositionMask(kept) if masked else None)
    ad.provenance = Provenance(start)
    with torch.no_grad(), ad.provenance, ad:
        out = function(start)
    return ad.axes(out), out


@torch.no_grad()
def dependence(function: Function, tries: int = 2) -> dict[Role, Tensor]:
    """Which samples, channels and positions each element depends on: (samples, …), found by what changes it."""
    generator = torch.Generator().manual_seed(3)
    parts = {
        Role.SAMPLE: [(n,) for n in range(SHAPE[0])],
        Role.CHANNEL: [(slice(None), c) for c in range(SHAPE[1])],
        Role.POSITION: [(..., h, w) for h in range(SHAPE[2]) for w in range(SHAPE[3])],
    }
    found = {}
    for role, indices in parts.items():
        changed = []
        for index in indices:
            differs: Tensor | None = None
            for _ in range(tries):
                x, far = torch.rand(2, *SHAPE, generator=generator).double()
                for sign in (1, -1):  # up or down an order
                    other = x.clone()
                    other[index] = sign * (8 + far[index])
                    now = function(x) != function(other)
                    differs = now if differs is None else differs | now
            changed.append(differs)
        found[role] = torch.stack(changed)  # type: ignore[arg-type]
    return found


def differs_along(depends: Tensor, dim: int) -> bool:
    """Whether elements along a dimension depend on different parts, of those that depend on any."""
    something = depends.any(0, keepdim=True)
    return bool((depends.any(dim + 1) & (~depends & something).any(dim + 1)).any())


def assert_among_its_roles(axes: Axes, depends: dict[Role, Tensor]) -> None:
    for role, parts in depends.items():
        others = {Role.UNKNOWN, Role.BRANCH} if role is Role.CHANNEL else {Role.UNKNOWN}
        for dim, one in enumerate(axes.dims):
            roles = {atom.role for atom in one}
            assert not differs_along(parts, dim) or role in roles or roles & others, (role, dim, axes)
    assert axes.mixed or bool((depends[Role.SAMPLE].sum(0) <= 1).all()), axes


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_result_depends_on_along_a_dimension_is_among_its_roles(name: str, masked: bool) -> None:
    axes, out = follow(OPERATIONS[name], masked)
    assert axes is not None
    assert axes.shape == out.shape
    assert all(role_of(one) is not Role.UNKNOWN for one in axes.dims), axes
    depends = dependence(OPERATIONS[name])
    assert_among_its_roles(axes, depends)
    for dim, one in enumerate(axes.dims):
        if role_of(one) is Role.POSITION and axes.shape[dim] > 1 and "attention" not in name:
            parts = depends[Role.POSITION]  # is none of a place in an order, of a frequency
            assert bool((parts != parts.narrow(dim + 1, 0, 1)).any()), (dim, axes)


def test_samples_that_say_each_others_quantiles_are_mixed() -> None:
    axes, _ = follow(lambda x: x.mean((2, 3)).quantile(x.mean((1, 2, 3)), 1))
    assert axes is not None
    assert axes.mixed


WHATEVER: dict[str, Function] = {
    "cumsum": lambda x: x.cumsum(-1),
    "cumsum of samples": lambda x: x.cumsum(0),
    "softmax": lambda x: x.softmax(0),
    "sort": lambda x: x.sort(0)[0],
    "topk": lambda x: x.topk(max(1, x.shape[-1] // 2))[0],
    "median": lambda x: x.median(-1)[0],
    "fft": lambda x: torch.fft.fft(x, dim=0).abs(),
    "fftn": lambda x: torch.fft.fftn(x, dim=(0, -1) if x.dim() > 1 else None).abs(),
    "diag_embed": lambda x: x.diag_embed() if x.dim() < 5 and x.shape[-1] < 9 else x,
    "index_copy": lambda x: torch.zeros_like(x).index_copy(0, torch.arange(x.shape[0]).flip(0), x),
    "index_add": lambda x: torch.zeros_like(x).index_add(-1, torch.zeros(x.shape[-1], dtype=torch.long), x),
    "cdist": lambda x: torch.cdist(x, x.exp()) if x.dim() > 1 else x,
    "rot90": lambda x: x.rot90() if x.dim() > 1 else x,
    "mean": lambda x: x.mean(0),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(VIEWS)), max_size=3),
    st.sampled_from(sorted(WHATEVER)),
    st.lists(st.sampled_from(sorted(VIEWS)), max_size=2),
)
def test_whatever_comes_before_and_after(before: list[str], name: str, after: list[str]) -> None:
    def chain(x: Tensor) -> Tensor:
        for step in before:
            x = VIEWS[step](x)
        x = WHATEVER[name](x) if x.dim() else x
        for step in after if x.dim() else []:
            x = VIEWS[step](x)
        return x

    axes, out = follow(chain, masked=False)
    assert axes is not None
    assert axes.shape == out.shape
    assert_among_its_roles(axes, dependence(chain, tries=1))
