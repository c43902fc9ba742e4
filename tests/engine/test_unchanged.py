"""A masked forward leaves the model, the input and the grad mode as they were."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, UnsupportedOperationError
from tests.networks import CHANNELS, HEIGHT, WIDTH, inputs, masks, networks, rules, taus

HALF = torch.arange(WIDTH).expand(HEIGHT, WIDTH) < WIDTH // 2
HOOKS = ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"]


def tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers and whatever tensors modules hold as plain attributes."""
    yield from model.state_dict(keep_vars=True).values()
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "state": {name: (id(t), t._version, t.clone()) for name, t in model.state_dict(keep_vars=True).items()},
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "hooks": [{name: list(getattr(module, name)) for name in HOOKS} for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "forwards": [module.forward.__func__ for module in model.modules()],
    }


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    after = snapshot(model)
    for name, (identity, version, values) in before.pop("state").items():
        now = after["state"][name]
        assert (identity, version) == now[:2], name
        assert torch.equal(values, now[2]), name
    after.pop("state")
    assert after == before
    assert not any(vars(t) for t in tensors(model))


@given(networks(), inputs(), masks(), rules(), taus())
def test_model_and_input_are_untouched(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    before, values, kept, mask_version = snapshot(model), x.clone(), mask.clone(), mask._version
    version = x._version
    out = ADForward(model, rule, tau=tau)(x, mask=mask)
    assert_unchanged(model, before)
    assert torch.equal(x, values)
    assert torch.equal(mask, kept)
    assert (x._version, mask._version) == (version, mask_version)
    assert not vars(x)
    assert not vars(out)


class Failing(nn.Module):
    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None:
            raise self.error
        return x.renorm(2, 0, 1.0)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), None])
def test_after_an_exception_too(error: BaseException | None) -> None:
    model = nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), Failing(error)).eval()
    x, before = torch.rand(1, CHANNELS, HEIGHT, WIDTH), snapshot(model)
    with pytest.raises(UnsupportedOperationError if error is None else type(error)):
        ADForward(model)(x, mask=HALF)
    assert_unchanged(model, before)
    assert not vars(x)
    assert torch.overrides._get_current_function_mode() is None


def test_train_flags_stay_mixed() -> None:
    model = nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.Dropout(), nn.ReLU()).eval()
    model[1].training = True
    before = snapshot(model)
    ADForward(model)(torch.rand(1, CHANNELS, HEIGHT, WIDTH), mask=HALF)
    assert_unchanged(model, before)


@pytest.mark.parametrize("inplace", [True, False])
def test_a_first_layer_in_place_does_not_reach_the_caller(inplace: bool) -> None:
    x = torch.randn(2, CHANNELS, HEIGHT, WIDTH)
    values = x.clone()
    ADForward(nn.Sequential(nn.ReLU(inplace), nn.Sigmoid()).eval())(x, mask=HALF)
    assert torch.equal(x, values)


class Lazy(nn.Module):
    """Makes a constant at its first forward and remembers its last map."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None:
            self.grid = torch.linspace(0, 1, WIDTH)
        self.last = x * self.grid
        return self.last.mean((2, 3))


def test_tensors_that_a_model_remembers_carry_nothing() -> None:
    model, x = Lazy().eval(), torch.rand(1, CHANNELS, HEIGHT, WIDTH)
    ad = ADForward(model)
    first = ad(x, mask=HALF)
    assert not any(vars(t) for t in tensors(model))
    assert torch.equal(ad(x, mask=HALF), first)
    assert torch.equal(copy.deepcopy(ad)(x, mask=HALF), first)


@given(networks(), inputs(), masks(), rules(), taus())
def test_grad_modes_agree(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    ad = ADForward(model, rule, tau=tau)
    with_grad = ad(x.clone().requires_grad_(), mask=mask)
    with torch.no_grad():
        without = ad(x, mask=mask)
    with torch.inference_mode():
        inference = ad(x, mask=mask)
    assert torch.equal(without, inference)
    torch.testing.assert_close(with_grad, without, rtol=1e-5, atol=1e-6)  # kernels may round otherwise for gradients
    assert not without.requires_grad


class Padded(nn.Module):
    """Pads a map that is kept whole, beyond what windows reach: some positions are made of padding alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, 4, 3, dtype=torch.double)
        self.second = nn.Conv2d(4, 4, 3, dtype=torch.double)
        self.third = nn.Conv2d(4, 2, 3, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.first(x), (4, 1, 2, 4))
        return self.third(self.second(x).sigmoid()).mean((2, 3))


def test_what_is_remembered_of_padding_serves_gradients_too() -> None:
    """Found in inference mode, whose tensors no backward can use."""
    x = torch.rand(2, CHANNELS, 13, 11, dtype=torch.double)  # sizes that no other test has
    mask = torch.ones(13, 11, dtype=torch.bool)
    mask[6, 5] = False
    ad = ADForward(Padded().eval())
    with torch.inference_mode():
        expected = ad(x, mask=mask)
    out = ad(x.clone().requires_grad_(), mask=mask)
    out.sum().backward()
    torch.testing.assert_close(out.detach(), expected.clone())


@given(networks(), inputs(), masks(), rules(), taus())
def test_layouts_agree(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float) -> None:
    """Channels-last memory, expanded and sliced inputs are the same inputs."""
    ad, x = ADForward(model.double(), rule, tau=tau), x.double()
    out = ad(x, mask=mask)
    torch.testing.assert_close(ad(x.contiguous(memory_format=torch.channels_last), mask=mask), out)
    torch.testing.assert_close(ad(torch.cat([x, x], 3)[..., :WIDTH], mask=mask.contiguous()), out)
    one = x[:1].expand(2, -1, -1, -1)
    torch.testing.assert_close(ad(one, mask=mask), ad(one.contiguous(), mask=mask))
