"""A network with a part that the tests break, and what has to be found of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, register_rule
from captum_ad.testing import Report, check_model
from tests.engine.test_unchanged import assert_unchanged, snapshot

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
RULES, THEOREM, MISSING = "every operation has a rule", "Theorem 1", "missing means missing"
MONOTONE, LOST, BATCHES = "monotone masks", "no lost masks", "batches do not mix"


def network(suspect: nn.Module | Callable[[Tensor], Tensor] = F.relu, rule: Any = None) -> nn.Module:
    """With a module that the tests break: by what it does, or by a rule for its type."""

    class Suspect(nn.Module):  # one of its own each time, as a type is marked when it gets a rule
        def forward(self, x: Tensor) -> Tensor:
            return suspect(x)

    if rule is not None:
        register_rule(Suspect)(rule)
    torch.manual_seed(0)
    part = suspect if isinstance(suspect, nn.Module) else Suspect()
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), part, nn.Conv2d(4, 4, 3, padding=1))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def check(model: nn.Module, x: Tensor = X, **settings: Any) -> Report:
    """Without growth, so that masks are still there at the suspect."""
    before = snapshot(model)
    report = check_model(ADForward(model, "no-growth"), x, verbose=False, **settings)
    assert_unchanged(model, before)
    return report


def assert_fails(
    report: Report, *names: str, operation: str = "forward", kind: str = "Suspect", words: str = ""
) -> None:
    """These checks and no others, and all of them because of the suspect."""
    assert not report
    assert tuple(check.name for check in report.failures) == names, report
    for failure in report.failures:
        assert (failure.module, failure.operation) == ("0.2", operation), report
        assert failure.module_type == kind
        assert words in failure.detail
