"""Norms of negative order: what is missing contributes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.engine.rules.spelled import Pairs, assert_agree, every_preset, masks, run

INF = math.inf


def smallest(*dims: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.abs().reciprocal().amax(dims).reciprocal()


def harmonic(*dims: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.abs().reciprocal().sum(dims).reciprocal()


PAIRS: Pairs = {
    "vector_norm, -inf": (lambda x: torch.linalg.vector_norm(x, -INF, (2, 3)), smallest(2, 3)),
    "vector_norm, -1, rows": (lambda x: torch.linalg.vector_norm(x, -1, 3), harmonic(3)),
    "norm, -1": (lambda x: x.norm(-1, (2, 3)), harmonic(2, 3)),
    "norm, -inf, channels": (lambda x: torch.norm(x, -INF, 1), smallest(1)),
    "linalg.norm, -inf": (lambda x: torch.linalg.norm(x, -INF, 2), smallest(2)),
    "linalg.norm, -1": (lambda x: torch.linalg.norm(x, -1.0, 3), harmonic(3)),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def test_of_what_is_there() -> None:
    """The smallest of the kept values; zero, as the smallest of all that are read, it would be otherwise."""
    mask = masks()["half"]
    conv = run(lambda x: x, mask, "no-growth")
    kept = [conv[i, :, mask[i, 0]].abs().amin(1) for i in range(2)]
    norms = run(lambda x: torch.linalg.vector_norm(x, -INF, (2, 3)), mask, "no-growth")
    torch.testing.assert_close(norms, torch.stack(kept))
