"""A tensor that no operation seen here has made is a constant if nothing in it comes from features."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad._common.errors import UnsupportedOperationError
from captum_ad.testing import check_model

X, HALF = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8).expand(8, 8) < 4


class Model(nn.Module):
    """Adds something to a map."""

    attribute = torch.linspace(-1, 1, 8)

    def __init__(self, something: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.something = nn.Conv2d(3, 4, 3, padding=1), something

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return (h.relu() + self.something(h)).mean((2, 3))


@lru_cache
def cached(size: int) -> Tensor:
    return torch.linspace(-1, 1, size)


def by_default(h: Tensor, line: Tensor = torch.linspace(-1, 1, 8)) -> Tensor:  # noqa: B008
    return line


class Holder:
    def __init__(self) -> None:
        self.line = torch.linspace(-1, 1, 8)


HOLDER, HELD = Holder(), {"line": torch.linspace(-1, 1, 8)}

CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "cache": lambda h: cached(8),
    "class attribute": lambda h: Model.attribute,
    "default argument": by_default,
    "attribute of an object": lambda h: HOLDER.line,
    "global": lambda h: HELD["line"],
    "legacy constructor": lambda h: torch.Tensor([1.0] * 8),
}


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("plain_first", [False, True])
@torch.no_grad()
def test_constants_wherever_they_are_kept(name: str, plain_first: bool) -> None:
    cached.cache_clear()
    line = torch.Tensor([1.0] * 8) if name == "legacy constructor" else torch.linspace(-1, 1, 8)
    model, buffered = Model(CONSTANTS[name]).eval(), Model(lambda h: line).eval()
    buffered.register_buffer("line", line)
    if plain_first:
        model(X)
    for _ in range(3):
        assert torch.equal(ADForward(model)(X, mask=HALF), ADForward(buffered)(X, mask=HALF))


@torch.jit.script
def shift(x: Tensor) -> Tensor:
    return x * 2 + 1


KEPT: dict[str, Tensor] = {}


def through_a_global(h: Tensor) -> Tensor:
    KEPT["shifted"] = shift(h)
    return KEPT["shifted"]


def adder(y: Tensor) -> Callable[[], Tensor]:
    return lambda: y


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "script": shift,
    "script, kept in a global": through_a_global,
    "script, kept in a closure": lambda h: adder(shift(h))(),
    "parameter": lambda h: nn.Parameter(h * 2 + 1, requires_grad=False),
    "parameter list": lambda h: nn.ParameterList([h * 2 + 1])[0],
}


@pytest.mark.parametrize("name", FEATURES)
@torch.no_grad()
def test_results_of_features_are_no_constants(name: str) -> None:
    with pytest.raises(UnsupportedOperationError, match="comes from features"):
        ADForward(Model(FEATURES[name]).eval())(X, mask=HALF)


@pytest.mark.parametrize("in_place", [False, True])
@torch.no_grad()
def test_data_is_what_detach_gives(in_place: bool) -> None:
    def model(of: Callable[[Tensor], Tensor]) -> nn.Module:
        return Model(lambda h: of(h.relu_() if in_place else h)).eval()

    data, detached = model(lambda h: h.data), model(lambda h: h.detach())
    assert torch.equal(ADForward(data)(X, mask=HALF), ADForward(detached)(X, mask=HALF))
    assert check_model(data, X, verbose=False)


SCALE = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(0))


class Registers(nn.Module):
    """Only what attends, and holds no features, is read."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.registers = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 2, 8))
        self.block, self.head = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.registers.expand(len(x), -1, -1), self.patches(x).flatten(2).mT], 1)
        return self.head(self.block(tokens)[:, :2].mean(1))


class Scaled(nn.Module):
    """The outermost forward reads a global."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * SCALE).mean((2, 3))


@pytest.mark.parametrize("kind", [Registers, Scaled])
def test_no_false_alarms(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert check_model(kind().eval(), X, verbose=False)


class Biased(nn.Module):
    """A table that was written to when it was made, a view of a view of it, and an index from a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(20, 3))
        nn.init.normal_(self.table)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[:16].reshape(1, 4, 4, 3).permute(0, 3, 1, 2) * cached(4)


def test_views_of_views_in_inference_mode() -> None:
    """There torch counts the writes to some views of an ordinary tensor by themselves."""
    model, x, mask = Biased().eval(), torch.rand(2, 3, 4, 4), torch.arange(4).expand(4, 4) < 2
    with torch.inference_mode():
        cached(4)
        assert torch.equal(ADForward(model)(x, mask=mask), model(x).where(mask, 0))


class InPlaceInside(nn.Module):
    """Writes to a map, and to a view of it, while a part of the forward is in inference mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        view = x[:, :1]
        with torch.inference_mode():
            x.mul_(2)
            x[:, 1:].reshape(-1, 2, 16).neg_()
        return torch.cat([x, view.relu()], 1)


def test_writes_inside_of_inference_mode_are_known_outside() -> None:
    model, x = InPlaceInside().eval(), torch.rand(2, 3, 4, 4)
    mask = torch.arange(4).expand(4, 4) < 2
    with torch.no_grad():
        assert torch.equal(ADForward(model, "no-growth")(x, mask=mask), model(x).where(mask, 0))
