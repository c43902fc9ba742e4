"""What is not computed because it is dead changes nothing: all graphs, with and without, operation by operation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask
from captum_ad._engine import Interpreter
from captum_ad._engine.crop import Box, Part
from captum_ad._engine.definitions import attribute_positions, renewed_mask
from captum_ad._engine.positions import Geometry, sliding_windows
from tests.engine.following import follow
from tests.engine.graphs import CHANNELS, HEIGHT, WIDTH
from tests.engine.test_oracle import ALL_GRAPHS, ALL_RANKS, RULES, half_of_the_rules
from tests.oracle import Graph

GRAPHS: dict[str, tuple[tuple[int, ...], Callable[[], Graph]]] = {
    **{name: ((HEIGHT, WIDTH), build) for name, build in ALL_GRAPHS.items()},
    **ALL_RANKS,
}


def _boxes(*shape: int) -> list[Tensor]:
    """Masks (1|N, 1, *shape) with all that is kept in a corner, in another one, or in the middle."""
    random, masks = torch.rand(3, 1, *shape) < 0.7, []
    for start, end in ((0.0, 0.6), (0.5, 1.0), (0.3, 0.7)):
        box = torch.ones(shape, dtype=torch.bool)
        for dim, size in enumerate(shape):
            inside = torch.zeros(size, dtype=torch.bool)
            inside[int(start * size) : max(int(start * size) + 1, round(end * size))] = True
            box &= inside.reshape([-1 if d == dim else 1 for d in range(len(shape))])
        masks += [box[None, None], box & random]
    channels = torch.zeros(CHANNELS, dtype=torch.bool)
    channels[1:3] = True
    return [*masks, masks[1] & channels.reshape(-1, *(1,) * len(shape))]


@pytest.mark.parametrize("name", GRAPHS)
def test_parts_are_as_the_whole(name: str) -> None:
    torch.manual_seed(0)
    shape, build = GRAPHS[name]
    graph = build()
    x = torch.randn(3, CHANNELS, *shape, dtype=torch.double)
    masks = itertools.cycle(_boxes(*shape))
    for rule in half_of_the_rules(list(GRAPHS).index(name)):
        for tau in (0.0, 0.4) if rule.growth == "none" else (0.0,):  # without growth all stays in its box
            _compare(graph, x, PositionMask(next(masks)), rule, tau)


@torch.no_grad()
def _compare(graph: Graph, x: Tensor, mask: PositionMask, rule: MaskRule, tau: float) -> None:
    runs = []
    for skip_dead in (False, True):
        ad, found = follow(partial(Interpreter, graph, rule, tau, skip_dead=skip_dead), x, mask, graph.trace)
        ad.complete(*found)
        runs.append([(out.clone(), ad.mask(out)) for out in found])
        ad.forget()
    for number, ((whole, mine), (part, same)) in enumerate(zip(*runs)):
        where = f"step {number} ({type(graph.operations[number]).__name__}), {rule}, {tau}"
        assert (mine is None) == (same is None), where
        if mine is not None and same is not None:
            assert mine.equals(same), where
            dead = mine.dead.expand(whole.shape)
            whole, part = whole.masked_fill(dead, 0), part.masked_fill(dead, 0)
        torch.testing.assert_close(part, whole, msg=lambda m, w=where: f"{w}: {m}")


class PadsThenWrites(nn.Module):
    """Writes into what it has padded, as memory-thrifty networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        padded = F.pad(x, (1, 1, 1, 1))
        x.mul_(3)
        return self.second(padded) + x


@torch.no_grad()
def test_what_was_padded_may_be_written_to() -> None:
    torch.manual_seed(0)
    model, x = PadsThenWrites().eval(), torch.randn(1, CHANNELS, HEIGHT, WIDTH)
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[2:4, 1:3] = True
    whole, parts = (ADForward(model, "no-growth", skip_dead=skip_dead)(x, mask=mask) for skip_dead in (False, True))
    torch.testing.assert_close(parts, whole)


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def _written(name: str) -> Callable[..., Tensor]:
    def run(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        factor = torch.full((1, CHANNELS, HEIGHT, WIDTH), 2.0)
        getattr(factor, name)(first(x))  # a map is written into what was a constant
        out: Tensor = second(factor)
        return out

    return run


@pytest.mark.parametrize("name", ["mul_", "div_", "copysign_", "atan2_", "add_", "sub_"])
@torch.no_grad()
def test_a_map_written_into_a_constant(name: str) -> None:
    """Behind a mask of whole channels, whose box has no sides in space."""
    torch.manual_seed(0)
    layers = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    model, x = Apply(_written(name), *layers).eval(), torch.randn(1, CHANNELS, HEIGHT, WIDTH)
    mask = torch.zeros(1, CHANNELS, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, 1:3] = True
    whole, parts = (ADForward(model, "no-growth", skip_dead=skip_dead)(x, mask=mask) for skip_dead in (False, True))
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize(
    "model",
    [
        Apply(lambda x: F.pad(x, (1, -1)) + x),
        Apply(lambda x: F.max_pool2d(F.pad(x, (4, 0, 0, 0)), 2, 4)),
        Apply(lambda x: F.avg_pool2d(F.pad(x, (4, 0, 0, 0)), 2, 4)),
        Apply(lambda x, conv: conv(F.pad(x, (4, 0, 0, 0))), nn.Conv2d(2, 2, 2, stride=4)),
        Apply(lambda x, conv: conv(F.pad(x, (4, 0, 0, 0))), nn.Conv2d(2, 2, 1, 4)),
    ],
)
@torch.no_grad()
def test_what_is_read_lies_outside_of_what_is_there(model: nn.Module) -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, -1] = True
    x = torch.randn(1, 2, 8, 8)
    for rule in RULES:
        whole, parts = (ADForward(model.eval(), rule, skip_dead=skip)(x, mask=mask) for skip in (False, True))
        torch.testing.assert_close(parts, whole)


def test_a_box_that_another_one_does_not_meet() -> None:
    part = Part(Box({1: (0, 2)}), torch.ones(1, 2))
    assert part.in_box(Box({1: (2, 5)}), (1, 8)).tolist() == [[0, 0, 0]]
    assert part.in_box(Box({1: (-3, -1)}), (1, 8)).tolist() == [[0, 0]]
    assert part.in_box(Box({1: (-1, 3)}), (1, 8)).tolist() == [[0, 1, 1, 0]]


@given(st.data())
def test_masks_are_renewed_alike_without_counting(data: st.DataObject) -> None:
    kernel, stride, dilation, inputs = (data.draw(st.integers(1, n)) for n in (5, 4, 3, 9))
    padding = data.draw(st.integers(0, 4))
    outputs = (inputs + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    assume(outputs > 0)
    windows = sliding_windows([Geometry(inputs, outputs, kernel, stride, padding, dilation)] * 2, torch.device("cpu"))
    kept, feature = torch.rand(2, 2, 1, inputs, inputs, generator=torch.Generator().manual_seed(kernel)) < 0.4
    for mask in (PositionMask(kept), PositionMask(kept & feature, feature)):
        for rule in (MaskRule(), MaskRule(growth="none")):
            counted = attribute_positions(mask, windows, rule, 0.0).mask
            assert renewed_mask(mask, windows, rule, 0.0).equals(counted)
