"""Gradients flow through a masked forward as through the model, and stop at what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule
from tests.networks import CHANNELS, HEIGHT, WIDTH, Apply, inputs, masks, networks, rules, taus

HALF = torch.arange(WIDTH).expand(HEIGHT, WIDTH) < WIDTH // 2


def gradient(model: nn.Module, x: Tensor, **kwargs: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    out = model(x, **kwargs)
    (found,) = torch.autograd.grad(out.square().sum() + out.sum(), x)
    return found


@given(networks(), inputs(), masks(), rules(), taus())
def test_finite_and_zero_at_missing_features(
    model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule, tau: float
) -> None:
    junk = torch.where(mask, x, 1e30)
    found = gradient(ADForward(model, rule, tau=tau), junk, mask=mask)
    assert bool(found.isfinite().all())
    assert bool((found[~mask.expand(x.shape)] == 0).all())
    assert torch.equal(found, gradient(ADForward(model, rule, tau=tau), x, mask=mask))


@given(networks(), inputs(), rules(), taus())
def test_of_a_full_mask_are_the_models(model: nn.Module, x: Tensor, rule: MaskRule, tau: float) -> None:
    ad = ADForward(model, rule, tau=tau)
    assert torch.equal(gradient(ad, x, mask=torch.ones(HEIGHT, WIDTH)), gradient(model, x))
    mask = torch.ones(2, HEIGHT, WIDTH)
    mask[1, :, : WIDTH // 2] = 0
    x, model = x.double(), model.double()
    torch.testing.assert_close(gradient(ad, x, mask=mask)[0], gradient(model, x)[0])


@settings(max_examples=10)
@given(networks(), inputs(), masks(), rules())
def test_are_those_of_the_masked_function(model: nn.Module, x: Tensor, mask: Tensor, rule: MaskRule) -> None:
    """Against a finite difference in a random direction."""
    ad, x = ADForward(model.double(), rule), x.double()
    direction = torch.randn_like(x)
    step = 1e-6 * direction
    with torch.no_grad():
        rise = (ad(x + step, mask=mask).sum() - ad(x - step, mask=mask).sum()) / 2e-6
    (found,) = torch.autograd.grad(ad(leaf := x.clone().requires_grad_(), mask=mask).sum(), leaf)
    torch.testing.assert_close((found * direction).sum(), rise, rtol=1e-3, atol=1e-4)


STEEP: dict[str, Callable[[Tensor], Tensor]] = {
    "quotient": lambda x: x / x.norm(dim=1, keepdim=True),
    "in place": lambda x: x.clone().div_(x.norm(dim=1, keepdim=True)),
    "of a number": lambda x: 1 / x.pow(2).sum(1, keepdim=True) * x,
    "square root": lambda x: x * x.pow(2).sqrt(),
    "root of a power": lambda x: x * x.pow(2) ** 0.5,
    "inverse root": lambda x: x * x.pow(2).sum(1, keepdim=True).rsqrt(),
    "reciprocal": lambda x: x * x.pow(2).sum(1, keepdim=True).reciprocal(),
    "logarithm": lambda x: x * x.pow(2).sum(1, keepdim=True).log(),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.pow(2).sum(1, keepdim=True)),
}


@pytest.mark.parametrize("name", STEEP)
def test_of_what_is_infinitely_steep_at_zero(name: str) -> None:
    """A dead position is zero, where these have no slope; a gradient of 0 times infinity would spread as NaN."""
    torch.manual_seed(0)
    first, last = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False), nn.Conv2d(CHANNELS, 2, 3)
    model = Apply(lambda x, first, last: last(STEEP[name](first(x))), first, last).double().eval()
    x, mask = torch.randn(1, CHANNELS, HEIGHT, WIDTH).double(), HALF & (torch.arange(HEIGHT) < 4)[:, None]
    ad = ADForward(model, "no-growth")
    found = gradient(ad, x, mask=mask)
    assert bool(found.any())
    ad(x, mask=mask).sum().backward()
    assert all(bool(part.isfinite().all()) for part in (found, first.weight.grad, last.weight.grad) if part is not None)
    way, step = torch.randn_like(x), 1e-6
    with torch.no_grad():
        ends = [(out := ad(x + sign * step * way, mask=mask)).square().sum() + out.sum() for sign in (1, -1)]
    torch.testing.assert_close((found * way).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


def detached_branch(x: Tensor, conv: nn.Module) -> Tensor:
    out = conv(x).sigmoid()
    with torch.no_grad():
        pooled = F.avg_pool2d(out, 2)
    return out.mean((2, 3)) + pooled.mean((2, 3))


def two_readers(x: Tensor, norm: nn.Module, conv: nn.Module) -> Tensor:
    out = x.sigmoid()
    return norm(out).mean((2, 3)) + conv(out).mean((2, 3))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(x)
        return gradient * (sigmoid * (1 + x * (1 - sigmoid)))


def own_function(x: Tensor, conv: nn.Module) -> Tensor:
    return conv(Swish.apply(conv(x))).mean((2, 3))


@pytest.mark.parametrize("wants_input_gradient", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        Apply(detached_branch, nn.Conv2d(CHANNELS, CHANNELS, 3)),
        Apply(two_readers, nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 3)),
        Apply(own_function, nn.Conv2d(CHANNELS, CHANNELS, 3)),
    ],
    ids=["detached branch", "two readers", "own autograd function"],
)
def test_saved_tensors_are_left_alone(model: nn.Module, wants_input_gradient: bool) -> None:
    """Deactivating in place must not touch what a backward still needs."""
    torch.manual_seed(0)
    x = torch.randn(1, CHANNELS, HEIGHT, WIDTH, requires_grad=wants_input_gradient)
    model = model.eval()
    model.zero_grad()
    ADForward(model)(x, mask=HALF).sum().backward()
    gradients = [p.grad for p in model.parameters()] + ([x.grad] if wants_input_gradient else [])
    for found in gradients:
        assert found is not None
        assert bool(found.isfinite().all())
        assert bool(found.any())
    if wants_input_gradient:
        assert not bool(x.grad[..., WIDTH // 2 :].any())
