"""What a rule can be registered for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError, register_rule, temporary_rules
from captum_ad._engine.registry import rule_for
from tests.networks import Apply

X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
HALF = torch.arange(6).expand(6, 6) < 3


@pytest.mark.parametrize(
    "what", [nn.Module, torch.autograd.Function, torch.jit.ScriptModule, torch.jit.RecursiveScriptModule, int, 3]
)
def test_what_no_rule_can_be_registered_for(what: Any) -> None:
    with pytest.raises(TypeError, match="registered for"):
        register_rule(what)


@torch.library.custom_op("captum_ad_test::scale", mutates_args=(), schema="(Tensor x, float factor) -> Tensor")
def library_scale(x: Tensor, factor: float) -> Tensor:
    return x * factor


SPELLINGS: dict[str, Callable[..., Any]] = {
    "definition": library_scale,
    "packet": torch.ops.captum_ad_test.scale,
    "overload": torch.ops.captum_ad_test.scale.default,
}


@pytest.mark.parametrize("registered", ["definition", "packet"])
@pytest.mark.parametrize("called", SPELLINGS)
def test_operations_of_torch_library(registered: str, called: str) -> None:
    def use(x: Tensor) -> Tensor:
        return SPELLINGS[called](x, 3.0)

    model = Apply(use).eval()
    with pytest.raises(UnsupportedOperationError, match=r"captum_ad_test.scale"):
        ADForward(model)(X, mask=HALF)
    register_rule(SPELLINGS[registered])(lambda ad, op, x, factor: ad.emit(op(x, factor), ad.mask(x)))
    expected = ADForward(Apply(lambda x: x * 3.0).eval())(X, mask=HALF)
    assert torch.equal(ADForward(model)(X, mask=HALF), expected)
    assert torch.equal(ADForward(model)(X), model(X))


def test_temporary_rules_are_taken_back() -> None:
    before = rule_for(torch.relu, masked=True)

    @temporary_rules()
    def run() -> None:
        register_rule("relu", "renorm", always=True)(lambda ad, op, x: ad.emit(op(x), None))
        assert rule_for(torch.relu, masked=False) is rule_for(torch.renorm, masked=True) is not None
        raise KeyError

    with pytest.raises(KeyError):
        run()
    assert rule_for(torch.relu, masked=True) is before
    assert rule_for(torch.relu, masked=False) is rule_for(torch.renorm, masked=True) is None
