"""Other ways to write the same network give the same answer."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward
from tests.networks import seed

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HALF = torch.ones(8, 8, dtype=torch.bool)
HALF[:, :4] = False


def _add_to_part(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :2] += x.roll(3, 3)[:, 2:]
    return x


def _add_to_corner(x: Tensor) -> Tensor:
    x = x.clone()
    x[..., 1:, 2:] -= x[..., 1:, 1:-1].clone()
    return x * 2


def _corner_added(x: Tensor) -> Tensor:
    right = x[..., 1:, 2:] - x[..., 1:, 1:-1]
    return 2 * torch.cat([x[..., :1, :], torch.cat([x[..., 1:, :2], right], 3)], 2)


PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "unbind axis": (lambda x: torch.unbind(x, axis=2)[1], lambda x: torch.unbind(x, dim=2)[1]),  # type: ignore[call-overload]
    "select axis": (lambda x: torch.select(x, axis=3, index=5), lambda x: torch.select(x, 3, 5)),  # type: ignore[call-overload]
    "stack axis": (lambda x: torch.stack([x, -x], axis=2), lambda x: torch.stack([x, -x], dim=2)),  # type: ignore[call-overload]
    "sort axis, sum": (lambda x: torch.sort(x, axis=1)[0].sum(axis=3), lambda x: torch.sort(x, dim=1)[0].sum(3)),  # type: ignore[call-overload]
    "topk axis, linear": (
        lambda x: F.linear(torch.topk(x, 3, axis=1)[0].mT, torch.ones(2, 8)),  # type: ignore[call-overload]
        lambda x: F.linear(torch.topk(x, 3, dim=1)[0].mT, torch.ones(2, 8)),
    ),
    "cat axis": (lambda x: torch.cat([x, x * 2], axis=1), lambda x: torch.cat([x, x * 2], dim=1)),  # type: ignore[call-overload]
    "numpy's names of arguments": (
        lambda x: x.mean(axis=(2, 3), keepdims=True),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "cat along an axis": (lambda x: torch.cat([x, x], axis=1), lambda x: torch.cat([x, x], 1)),
    "zeros of the same shape": (lambda x: x + torch.zeros_like(x), lambda x: x + 0),
    "new zeros": (
        lambda x: torch.cat([x, x.new_zeros(2, 1, 8, 8)], 1),
        lambda x: F.pad(x, (0, 0, 0, 0, 0, 1)),
    ),
    "scaled sum": (lambda x: torch.add(x, x.relu(), alpha=2), lambda x: x + 2 * x.relu()),
    "reversed difference": (lambda x: 1 - x, lambda x: torch.rsub(x, 1)),
    "operands by name": (
        lambda x: torch.flatten(input=torch.add(input=x, other=x), start_dim=1),
        lambda x: (x + x).flatten(1),
    ),
    "mean over everything": (lambda x: x.mean(()), lambda x: x.mean()),
    "empty list item": (lambda x: torch.cat([torch.empty(0), x], 1), lambda x: x),
    "gate of the same shape": (
        lambda x: x * F.linear(x.mean((2, 3)), torch.ones(4, 4)).view(2, 4, 1, 1).expand_as(x),
        lambda x: x * F.linear(x.mean((2, 3)), torch.ones(4, 4))[:, :, None, None],
    ),
    "square loss": (
        lambda x: F.mse_loss(x.roll(1, 3), x, reduction="none").mean((1, 2, 3)),
        lambda x: (x.roll(1, 3) - x).square().mean((1, 2, 3)),
    ),
    "absolute loss": (lambda x: F.l1_loss(x.relu(), x)[None], lambda x: (x.relu() - x).abs().mean()[None]),
    "overwritten": (lambda x: x.clone().zero_() + x, lambda x: torch.zeros_like(x) + x),
    "constant in the shape of a map": (
        lambda x: x + torch.ones(1, 4, 1, 1).expand_as(x) + torch.ones(2 * 4 * 64).view_as(x),
        lambda x: x + 1 + 1,
    ),
    "constant of a whole map's shape": (
        lambda x: x + torch.ones_like(x.mean((2, 3), keepdim=True).expand(x.shape)),
        lambda x: x + 1,
    ),
    "constant of a map's dtype": (
        lambda x: x + torch.ones(1, dtype=torch.int32).type_as(x) + torch.ones(1).to(x),
        lambda x: x + 1 + 1,
    ),
    "dtype of another map": (lambda x: x.type_as(x.relu()).to(x.abs()), lambda x: x),
    "shape of another map": (lambda x: x.flatten(1).view_as(x.relu()).reshape_as(x), lambda x: x),
    "asked for what it is, not what it holds": (
        lambda x: x * torch.numel(x) if torch.is_floating_point(x) and not torch.is_complex(x) else x,
        lambda x: x * x.numel(),
    ),
    "a dtype that two have in common": (lambda x: x.to(torch.result_type(x, x.relu())), lambda x: x),
    "indices of extremes": (lambda x: x.argmax(1) + x.argmin(1), lambda x: x.max(1)[1] + x.min(1)[1]),
    "stacked side by side": (
        lambda x: torch.hstack([x, x.relu()]) + torch.dstack([x, x]).chunk(2, 2)[0].repeat(1, 2, 1, 1),
        lambda x: torch.cat([x, x.relu()], 1) + torch.cat([x, x], 1),
    ),
    "columns": (lambda x: torch.column_stack([x.flatten(1), x.flatten(1)]), lambda x: torch.cat([x, x], 1).flatten(1)),
    "copied": (lambda x: torch.zeros(2, 4, 8, 8).copy_(x) * 2, lambda x: x + x),
    "copied into a map": (lambda x: x.relu().copy_(x.roll(1, 3)), lambda x: x.roll(1, 3)),
    "added to a part": (_add_to_part, lambda x: torch.cat([x[:, :2] + x.roll(3, 3)[:, 2:], x[:, 2:]], 1)),
    "added to a part of a part": (_add_to_corner, _corner_added),
    "softmin": (lambda x: F.softmin(x, 3), lambda x: F.softmax(-x, 3)),
    "cosine": (
        lambda x: F.cosine_similarity(x, x.roll(1, 3)),
        lambda x: (F.normalize(x) * F.normalize(x.roll(1, 3))).sum(1),
    ),
    "cosine of vectors": (
        lambda x: F.cosine_similarity(x.flatten(2).mT, torch.arange(4.0), dim=2),
        lambda x: F.cosine_similarity(x.flatten(2), torch.arange(4.0)[:, None], dim=1),
    ),
    "an index for all": (lambda x: x[:1].argmax(keepdim=True), lambda x: x[:1].argmax().reshape(1, 1, 1, 1)),
    "fewer dimensions, the same dots": (
        lambda x: torch.einsum("...w,...w->...", x, torch.ones(8, 8)),
        lambda x: x.sum(-1),
    ),
    "stacked numbers": (
        lambda x: torch.hstack([x.mean((2, 3))[0], x.amax((2, 3))[1]])[None],
        lambda x: torch.cat([x.mean((2, 3))[:1], x.amax((2, 3))[1:]], 1),
    ),
    "triangles": (lambda x: x.tril(1) + x.triu(-1), lambda x: x.clone().tril_(1) - (-x).triu(-1)),
    "three factors": (
        lambda x: torch.einsum("nchw, nciw, nkiw -> nkhw", x, x, x),
        lambda x: torch.einsum("nhiw,nkiw->nkhw", torch.einsum("nchw,nciw->nhiw", x, x), x),
    ),
    "an equation without a result": (
        lambda x: torch.einsum("...hw,...wv", x, x.mT),
        lambda x: x @ x.mT,
    ),
    "tensordot": (
        lambda x: torch.tensordot(x, torch.ones(4, 5), dims=([1], [0])),
        lambda x: torch.einsum("nchw,ck->nhwk", x, torch.ones(4, 5)),
    ),
    "flattened from the end": (lambda x: x.flatten(-2), lambda x: x.reshape(*x.shape[:2], -1)),
}


@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str) -> None:
    class Model(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            seed(0)
            self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

        def forward(self, x: Tensor) -> Tensor:
            return self.function(self.conv(x))

    for tau in (0, 0.3, 0.6):
        one, other = (ADForward(Model(function).eval(), rule, tau=tau)(X, mask=HALF) for function in PAIRS[name])
        torch.testing.assert_close(one, other)
        assert tau or one.abs().sum() > 0
