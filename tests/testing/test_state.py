"""check_model leaves the network, the input and the random numbers as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad.testing import check_model
from tests.engine.test_unchanged import assert_unchanged, snapshot
from tests.testing.models import X, assert_fails, network


class Counts(nn.Module):
    """Changes with each call, and remembers things."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen: list[Any] = []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.count = self.count + 1
        self.seen.append(x)
        self.last = x
        return x + self.calls


def test_state_is_named_and_put_back() -> None:
    suspect = Counts()
    model = network(suspect)
    count, random = suspect.count, torch.get_rng_state()
    report = check_model(model, X, verbose=False)
    assert_fails(report, "repeatable", operation="add", kind="Counts")
    assert suspect.calls == 0
    assert suspect.seen == []
    assert suspect.count is count
    assert float(count) == 0
    assert not hasattr(suspect, "last")
    assert torch.equal(torch.get_rng_state(), random)


def test_nothing_is_changed() -> None:
    model, x = network(), X.clone().requires_grad_()
    before, random = snapshot(model), torch.get_rng_state()
    ad = ADForward(model)
    check_model(ad, x, verbose=False)
    assert_unchanged(model, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, X)
    assert not vars(x)
    assert torch.is_grad_enabled()


def test_state_is_put_back_after_an_exception() -> None:
    class Stops(Counts):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if self.calls == 2:
                raise KeyboardInterrupt
            return out

    suspect = Stops()
    with pytest.raises(KeyboardInterrupt):
        check_model(network(suspect), X, verbose=False)
    assert (suspect.calls, suspect.seen, float(suspect.count)) == (0, [], 0)
