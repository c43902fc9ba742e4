"""Values written, or added, where constant indices say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import UnsupportedOperationError
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    SAMPLES,
    WIDTH,
    Pairs,
    assert_agree,
    every_preset,
    masks,
    run,
)

SHAPE = (SAMPLES, CHANNELS, HEIGHT, WIDTH)
PLACES = torch.tensor([6, 0, 3])
TWO = torch.tensor(2.0).double()
TWICE = torch.tensor([0, 0, 5])
HALVES = torch.arange(WIDTH) // 2
CONDITION = torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3 > 0


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape or SHAPE, dtype=torch.double)


def pick(x: Tensor) -> Tensor:
    """Other features for three columns."""
    return x.roll(2, 3)[..., :3]


def assigned(x: Tensor, other: Tensor) -> Tensor:
    out = x.clone()
    out[..., PLACES] = other
    return out


def widened(index: Tensor, like: Tensor) -> Tensor:
    return index.expand(*like.shape[:3], len(index))


def sums(x: Tensor) -> Tensor:
    """Of neighboring columns."""
    return x[..., ::2] + x[..., 1::2]


PAIRS: Pairs = {
    "index_copy": (lambda x: x.index_copy(3, PLACES, pick(x)), lambda x: assigned(x, pick(x))),
    "index_copy into zeros": (lambda x: zeros().index_copy(3, PLACES, pick(x)), lambda x: assigned(zeros(), pick(x))),
    "index_copy in place": (
        lambda x: zeros().index_copy_(3, PLACES, source=pick(x)),
        lambda x: assigned(zeros(), pick(x)),
    ),
    "index_fill": (lambda x: x.index_fill(3, PLACES, 2.0), lambda x: assigned(x, TWO)),
    "index_fill, a tensor": (
        lambda x: x.clone().index_fill_(3, PLACES, TWO), lambda x: assigned(x, TWO)
    ),
    "scatter": (lambda x: x.scatter(3, widened(PLACES, x), pick(x)), lambda x: assigned(x, pick(x))),
    "scatter of a number": (
        lambda x: torch.scatter(x, 3, widened(PLACES, x), value=2.0),
        lambda x: assigned(x, TWO),
    ),
    "scatter in place": (
        lambda x: zeros().scatter_(3, widened(PLACES, x), pick(x)),
        lambda x: assigned(zeros(), pick(x)),
    ),
    "select_scatter": (
        lambda x: x.select_scatter(x[..., 3], 3, 0),
        lambda x: torch.cat([x[..., 3:4], x[..., 1:]], 3),
    ),
    "slice_scatter": (
        lambda x: torch.slice_scatter(x, x[..., :4], 3, 1, 8, 2),
        lambda x: torch.stack([x[..., ::2], x[..., :4]], -1).flatten(3),
    ),
    "diagonal_scatter": (
        lambda x: torch.diagonal_scatter(x[0, 0, :, :6], x[0, 1, 0, :6]),
        lambda x: torch.where(torch.eye(6).bool(), x[0, 1, 0, :6], x[0, 0, :, :6]),
    ),
    "masked_scatter": (
        lambda x: x[0, 0].masked_scatter(CONDITION, x[0, 1]),
        lambda x: x[0, 0].index_put(CONDITION.nonzero(as_tuple=True), x[0, 1].flatten()[: int(CONDITION.sum())]),
    ),
    "index_put": (
        lambda x: x.movedim(3, 0).index_put([PLACES], pick(x).movedim(3, 0)).movedim(0, 3),
        lambda x: assigned(x, pick(x)),
    ),
    "index_put, added": (
        lambda x: x.movedim(3, 0).index_put([TWICE], x[..., [2, 3, 1]].movedim(3, 0), True).movedim(0, 3),
        lambda x: x.index_add(3, TWICE, x[..., [2, 3, 1]]),
    ),
    "index_add": (lambda x: zeros(*SHAPE[:3], 4).index_add(3, HALVES, x), sums),
    "index_add in place": (lambda x: zeros(*SHAPE[:3], 4).index_add_(3, HALVES, x), sums),
    "index_add to a map": (
        lambda x: x[..., :4].index_add(3, torch.arange(4), x[..., 4:], alpha=-2),
        lambda x: x[..., :4] - 2 * x[..., 4:],
    ),
    "scatter_add": (lambda x: zeros(*SHAPE[:3], 4).scatter_add(3, widened(HALVES, x), x), sums),
    "scatter_add to a map in place": (
        lambda x: x[..., :4].clone().scatter_add_(3, widened(torch.arange(4), x), x[..., 4:]),
        lambda x: x[..., :4] + x[..., 4:],
    ),
    "scatter_reduce": (lambda x: zeros(*SHAPE[:3], 4).scatter_reduce(3, widened(HALVES, x), x, "sum"), sums),
    "scatter_reduce, maximum": (
        lambda x: zeros(*SHAPE[:3], 4).scatter_reduce_(3, widened(HALVES, x), x, "amax", include_self=False),
        lambda x: torch.maximum(x[..., ::2], x[..., 1::2]),
    ),
    "scatter_reduce, product": (
        lambda x: zeros(*SHAPE[:3], 4).add(1).scatter_reduce(3, widened(HALVES, x), x, "prod"),
        lambda x: x[..., ::2] * x[..., 1::2],
    ),
    "index_reduce": (
        lambda x: x[..., :4].index_reduce(3, torch.arange(4), x[..., 4:], "amin"),
        lambda x: torch.minimum(x[..., :4], x[..., 4:]),
    ),
    "index_reduce, product": (
        lambda x: zeros(*SHAPE[:3], 4).index_reduce(3, HALVES, x, "prod", include_self=False),
        lambda x: x[..., ::2] * x[..., 1::2],
    ),
}  # fmt: skip


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.6])
def test_of_many_contributions(tau: float) -> None:
    """A sum is active where more than that share of its contributions is."""
    mask = torch.arange(WIDTH).expand(HEIGHT, WIDTH) < 3
    out = run(lambda x: zeros(*SHAPE[:3], 2).index_add(3, torch.arange(WIDTH) // 4, x), mask, "no-growth", tau)
    values = run(lambda x: x, mask, "no-growth", 0.0)
    assert bool((out[..., 1] == 0).all())
    torch.testing.assert_close(out[..., 0], values[..., :3].sum(3))


def test_a_mean_of_what_is_scattered() -> None:
    def mean(x: Tensor) -> Tensor:
        return zeros(*SHAPE[:3], 4).scatter_reduce(3, widened(HALVES, x), x, "mean", include_self=False)

    torch.testing.assert_close(run(mean, masks()["half"]), run(lambda x: sums(x) / 2, masks()["half"]))
    with pytest.raises(UnsupportedOperationError, match='average="active"'):
        run(mean, masks()["half"], "average=active")


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "indices that features have": (lambda x: x.scatter(3, x.argsort(3), x), "computed from features"),
    "from one sample to another": (
        lambda x: zeros(1, *SHAPE[1:]).index_add(0, torch.tensor([0, 0]), x), "mixes the samples"
    ),
    "an old way to reduce": (lambda x: x.scatter(3, widened(PLACES, x), pick(x), reduce="add"), "scatter_reduce"),
    "a value of features": (lambda x: x.index_fill(3, PLACES, x.mean()), "computed from features"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(UnsupportedOperationError, match=words):
        run(function, masks()["half"])


def test_places_that_features_choose() -> None:
    """Where none is missing of those that choose, and of those that are written."""

    def best(x: Tensor) -> Tensor:
        return F.linear(x.mean((2, 3)), torch.eye(CHANNELS).double()).argmax(1, True)

    hot = run(lambda x: zeros(SAMPLES, CHANNELS).scatter(1, best(x), 1.0), masks()["half"])
    torch.testing.assert_close(hot.argmax(1, True), run(best, masks()["half"]))
