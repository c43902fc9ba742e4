"""One recorded program serves all masks: all graphs, recorded under one mask and run under others."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_ad import MaskRule, PositionMask
from captum_ad._engine import Interpreter
from captum_ad._engine.provenance import Provenance
from captum_ad._engine.recording import recorded
from captum_ad._engine.static import NeedsValuesError
from tests.engine import attention
from tests.engine.graphs import CHANNELS
from tests.engine.test_oracle import RULES
from tests.engine.test_parts import GRAPHS as SPATIAL
from tests.oracle import Graph

GRAPHS: dict[str, tuple[tuple[int, ...], int, Callable[[], Graph]]] = {
    **{name: (shape, CHANNELS, build) for name, (shape, build) in SPATIAL.items()},
    **{
        name: ((attention.HEIGHT, attention.WIDTH), attention.CHANNELS, build)
        for name, build in attention.GRAPHS.items()
    },
}
NEED_VALUES: set[str] = set()
"""Graphs with an operation whose rule looks at the mask's values."""


RULE_OF = itertools.cycle(itertools.product(RULES, (0.0, 0.4)))


def masked(model: nn.Module, rule: MaskRule, tau: float, x: Tensor, kept: Tensor) -> Tensor:
    ad = Interpreter(model, rule, tau, skip_dead=False)
    start = ad.start(x, PositionMask(kept))
    ad.provenance = Provenance(start)
    try:
        with ad.provenance, ad:
            out = model(start)
        return ad.finish(out)
    finally:
        ad.forget()


def check(name: str, rule: MaskRule, tau: float) -> None:
    torch.manual_seed(0)
    shape, channels, build = GRAPHS[name]
    graph, x = build(), torch.randn(3, channels, *shape, dtype=torch.double)
    first, second = torch.rand(3, 1, *shape) < 0.7, torch.rand(3, 1, *shape) < 0.2
    second[1] = True
    held = [*graph.parameters(), *graph.buffers()]
    try:
        run = recorded(lambda x, kept: masked(graph, rule, tau, x, kept), [x, first], held)
    except NeedsValuesError:
        assert name in NEED_VALUES
        return
    for kept in (first, second, torch.ones_like(first)):
        out = run(x, kept)
        torch.testing.assert_close(out, masked(graph, rule, tau, x, kept))
        assert torch.equal(run(torch.where(kept, x, torch.nan), kept), out)
    assert name not in NEED_VALUES


@torch.no_grad()
@pytest.mark.parametrize("name", GRAPHS)
def test_a_program_is_as_the_forward(name: str) -> None:
    check(name, *next(RULE_OF))


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_under_every_rule(name: str) -> None:
    for rule, tau in itertools.product(RULES, (0.0, 0.4)):
        check(name, rule, tau)
