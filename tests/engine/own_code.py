"""Modules and autograd functions of somebody's own, and rules for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad._engine import Interpreter

X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
HALF = torch.arange(6).expand(6, 6) < 3
Op = Callable[..., Any]


class Scale(nn.Module):
    """A block whose content can be followed, so that a rule can be compared with no rule."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Inheriting(Scale):
    pass


class Overriding(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return -x


class Extending(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Prefix(nn.Module):
    """A block into which no mask can be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = torch.jit.script(nn.Sequential(nn.ReLU()))

    def forward(self, x: Tensor, axis: int = 2) -> Tensor:
        return self.inside(x).cumsum(axis)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = x.sinc()
        return out, out.view(out.shape)


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float = 1.0) -> Tensor:
        ctx.factor = factor
        return torch.from_numpy(x.detach().numpy() * factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.factor, None


class OpaqueChild(Opaque):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float = 1.0) -> Tensor:
        ctx.factor = factor
        return torch.from_numpy(-x.detach().numpy())


class Around(nn.Module):
    """conv, the block, pool."""

    def __init__(self, block: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.block = nn.Conv2d(3, 3, 3, padding=1), block

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.block(self.conv(x)), 2).flatten(1)


def masked(block: Callable[..., Any], x: Tensor = X) -> Tensor:
    return ADForward(Around(block).eval())(x, mask=HALF)


def elementwise(calls: list[Any]) -> Callable[..., Tensor]:
    def rule(ad: Interpreter, op: Op, x: Tensor, *args: Any) -> Tensor:
        calls.append(op.__self__)
        return ad.emit(op(x, *args), ad.mask(x))

    return rule
