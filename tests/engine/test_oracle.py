"""The engine gives what Definitions 3 to 5 give when positions are walked one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from captum_ad import MaskRule, PositionMask
from captum_ad._engine import Interpreter
from tests.engine.following import follow
from tests.engine.graphs import CHANNELS, GRAPHS, HEIGHT, WIDTH
from tests.engine.more_graphs import MORE_GRAPHS
from tests.engine.operations import AdaptivePool, Convolution, Pool
from tests.engine.other_ranks import OTHER_RANKS as MORE_RANKS
from tests.engine.resampling import Resize
from tests.engine.spatial_graphs import SPATIAL_GRAPHS
from tests.oracle import Graph, Knobs, Map, Operation, first_map, indices, put

RULES = [
    MaskRule(*knobs)
    for knobs in itertools.product(("window", "none"), ("union", "intersection"), ("all", "active"), ("zero", "mean"))
]
TAUS = [0.0, 0.3, 0.5]


def half_of_the_rules(number: int) -> list[MaskRule]:
    """Eight of the 16: any three knobs take all their values in them. Odd numbers get the other eight."""
    return [rule for index, rule in enumerate(RULES) if index.bit_count() % 2 == number % 2]


def _half(*shape: int) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[..., : shape[-1] // 2] = True
    return mask


def _pixel(*shape: int) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[..., shape[-1] // 2] = True
    return mask if len(shape) == 1 else mask & _pixel(*shape[:-1])[..., None]


def _masks(*shape: int) -> dict[str, Tensor]:
    """Masks of a batch, as (1|N, 1|C, *shape)."""
    random = torch.rand(4, *shape) < torch.tensor([0.2, 0.5, 0.8, 0.95]).reshape(-1, *(1,) * len(shape))
    nothing, everything = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    channels = torch.rand(1, CHANNELS, *shape) < 0.4
    return {
        "half, random, nothing": torch.stack([_half(*shape), random[1], nothing])[:, None],
        "channels, pixel, half": torch.cat(
            [channels, *(m.expand(1, CHANNELS, *shape) for m in (_pixel(*shape), _half(*shape)))]
        ),
        "one for all": random[2][None, None],
        "pixel, everything, random": torch.stack([_pixel(*shape), everything, random[0]])[:, None],
        "channels for all": torch.rand(1, CHANNELS, *shape) < 0.7,
        "almost everything": random[3][None, None],
    }


@torch.no_grad()
def _compare(graph: Graph, shape: tuple[int, ...], kept: Tensor, knobs: Knobs) -> None:
    x = torch.randn(3, CHANNELS, *shape, dtype=torch.double)
    expected = graph.masked(knobs, first_map(x, kept))
    for skip_dead in (False, True):
        make = partial(Interpreter, graph, knobs.rule, knobs.tau, skip_dead=skip_dead)
        ad, found = follow(make, x, PositionMask(kept), graph.trace)
        ad.complete(*found)
        for number, (out, ours) in enumerate(zip(found, expected)):
            where = f"step {number} ({type(graph.operations[number]).__name__}), {knobs}, {skip_dead=}"
            dead = _dead(ours)
            assert torch.equal(_dead_in_engine(ad, out), dead), f"mask differs after {where}"
            torch.testing.assert_close(out[~dead], ours.values[~dead], msg=lambda m, w=where: f"values after {w}: {m}")
        torch.testing.assert_close(ad.finish(found[-1]), expected[-1].checkpoint())


def _dead(ours: Map) -> Tensor:
    return put(torch.zeros(ours.values.shape), dict.fromkeys(ours.dead, 1.0)).bool()


def _dead_in_engine(ad: Interpreter, out: Tensor) -> Tensor:
    mask = ad.mask(out)
    return torch.zeros(out.shape, dtype=torch.bool) if mask is None else mask.dead.expand(out.shape)


ALL_GRAPHS = GRAPHS | SPATIAL_GRAPHS | MORE_GRAPHS


@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_engine_is_the_oracle(name: str) -> None:
    """Half of the rules, with each τ and each set of masks in turn; the next graph begins with another pair."""
    torch.manual_seed(0)
    graph, masks, number = ALL_GRAPHS[name](), _masks(HEIGHT, WIDTH), list(ALL_GRAPHS).index(name)
    pairs = itertools.islice(itertools.cycle(itertools.product(masks, TAUS)), number, None)
    for rule, (kind, tau) in zip(half_of_the_rules(number), pairs):
        _compare(graph, (HEIGHT, WIDTH), masks[kind], Knobs(rule, tau))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_GRAPHS)
def test_engine_is_the_oracle_in_every_combination(name: str) -> None:
    torch.manual_seed(0)
    graph, masks = ALL_GRAPHS[name](), _masks(HEIGHT, WIDTH)
    for rule, kind, tau in itertools.product(RULES, masks, TAUS):
        _compare(graph, (HEIGHT, WIDTH), masks[kind], Knobs(rule, tau))


OTHER_RANKS: dict[str, tuple[tuple[int, ...], Callable[[], Graph]]] = {
    "line": ((9,), lambda: Graph(_conv(1, 3, padding=1), Pool(nn.MaxPool1d(3, 2, 1), False), _conv(1, 2))),
    "line, averages": ((9,), lambda: Graph(Pool(nn.AvgPool1d(2, 2, 1), True), _mean(nn.AdaptiveAvgPool1d(2)))),
    "line, up": ((9,), lambda: Graph(_up(1, 3, stride=2), Resize((7,), "nearest"), _conv(1, 3))),
    "line, adaptive": ((9,), lambda: Graph(_conv(1, 1), AdaptivePool(nn.AdaptiveMaxPool1d(3), False))),
    "volume": ((4, 4, 3), lambda: Graph(_conv(3, 2), Pool(nn.MaxPool3d(2, 1), False), _mean(nn.AdaptiveAvgPool3d(1)))),
    "volume, up": ((4, 4, 3), lambda: Graph(Pool(nn.AvgPool3d(2, 2), True), _up(3, 2))),
    "volume, adaptive": (
        (4, 4, 3),
        lambda: Graph(AdaptivePool(nn.AdaptiveMaxPool3d((2, 1, 2)), False), _mean(nn.AdaptiveAvgPool3d((1, 1, 2)))),
    ),
}  # fmt: skip


def _conv(rank: int, kernel: int, **kwargs: int) -> Operation:
    return Convolution({1: nn.Conv1d, 3: nn.Conv3d}[rank](CHANNELS, CHANNELS, kernel, **kwargs))


def _up(rank: int, kernel: int, **kwargs: int) -> Operation:
    return Convolution({1: nn.ConvTranspose1d, 3: nn.ConvTranspose3d}[rank](CHANNELS, CHANNELS, kernel, **kwargs))


def _mean(layer: nn.Module) -> Operation:
    return AdaptivePool(layer, average=True)


ALL_RANKS = OTHER_RANKS | MORE_RANKS


@pytest.mark.parametrize("name", ALL_RANKS)
def test_other_ranks(name: str) -> None:
    torch.manual_seed(0)
    shape, build = ALL_RANKS[name]
    graph, masks = build(), _masks(*shape)
    for rule, (kind, tau) in zip(RULES, itertools.cycle(itertools.product(masks, TAUS))):
        _compare(graph, shape, masks[kind], Knobs(rule, tau))


def test_the_oracle_by_hand() -> None:
    """Figure 3 of the paper: of a window's four features two are kept, so Φ = 0.5."""
    x = first_map(torch.arange(4.0).reshape(1, 1, 2, 2), torch.tensor([[True, True], [False, False]]))
    conv = Convolution(nn.Conv2d(1, 1, 2, bias=False))
    nn.init.ones_(conv.layer.weight)
    out = conv.masked(Knobs(MaskRule(), 0.49), x)
    assert out.values.item() == 0 + 1
    assert out.kept == {(0, 0, 0, 0)}
    assert conv.masked(Knobs(MaskRule(), 0.5), x).dead == set(indices((1, 1, 1, 1)))
