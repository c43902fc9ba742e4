"""Where no position is left nothing is refused: what works with some features missing works without any of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captum.attr import KernelShap, Occlusion
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, UnsupportedOperationError
from tests.networks import Apply, seed

CHANNELS, SIZE = 4, 8
torch.manual_seed(0)
CELL = nn.GRUCell(CHANNELS, CHANNELS).requires_grad_(False)
TABLE = torch.rand(CHANNELS, 3)

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "singular values": lambda v: torch.linalg.svdvals(v[:, None]),
    "GRU cell": lambda v: CELL(v),
    "indices of extremes": lambda v: v.gather(1, v.argmax(1, keepdim=True)),
    "a table": lambda v: TABLE[v.argmax(1)] + F.embedding(v.argmin(1), TABLE),
    "one hot": lambda v: v * F.one_hot(v.argmax(1), CHANNELS),
    "times a vector": lambda v: (v @ torch.arange(4.0))[:, None],
    "in place": lambda v: v.erf().renorm_(2, 0, 1.0),
    "a decision": lambda v: v if v.sum() > 0.1 else v * 2,
    "a number": lambda v: v * v.sum().item(),
    "a list": lambda v: v * torch.tensor([sum(row) for row in v.tolist()])[:, None],
    "softmax without dim": lambda v: F.softmax(v),
}


class Pooled(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        seed(0)
        self.conv, self.function = nn.Conv2d(3, CHANNELS, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x).sigmoid().mean((2, 3)))


@pytest.mark.filterwarnings("ignore:Implicit dimension")
@pytest.mark.parametrize("tau", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("name", FUNCTIONS)
@torch.no_grad()
def test_of_a_vector_that_is_missing(name: str, rule: str, tau: float) -> None:
    x, nothing = torch.randn(2, 3, SIZE, SIZE), torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for mask in (
        nothing,
        torch.stack([nothing, ~nothing]),
        torch.stack([nothing.clone().fill_diagonal_(True), nothing]),
    ):
        vector = ADForward(Pooled(lambda v: v).eval(), rule, tau=tau)(x, mask=mask)
        out = ADForward(Pooled(FUNCTIONS[name]).eval(), rule, tau=tau)(x, mask=mask)
        torch.testing.assert_close(out, FUNCTIONS[name](vector.clone()))


def test_gradients_flow() -> None:
    x, mask = torch.randn(2, 3, SIZE, SIZE, requires_grad=True), torch.zeros(2, SIZE, SIZE)
    mask[1, :3] = 1
    ADForward(Pooled(lambda v: v.renorm(2, 0, 1.0)).eval())(x, mask=mask).sum().backward()
    assert x.grad is not None
    assert not bool(x.grad[0].any())
    assert bool(x.grad[1].any())
    assert bool(x.grad.isfinite().all())


def test_attributors_that_ask_for_nothing() -> None:
    ad = ADForward(Pooled(lambda v: v.sort(1).values.renorm(2, 0, 1.0)).eval())
    x, cell = torch.randn(1, 3, SIZE, SIZE), torch.arange(SIZE) // 4
    groups = (2 * cell[:, None] + cell)[None, None]
    windows = Occlusion(ad).attribute(x, target=1, sliding_window_shapes=(3, 4, 4), strides=(3, 4, 4))
    assert bool(windows.isfinite().all())
    assert bool(KernelShap(ad).attribute(x, target=1, feature_mask=groups, n_samples=20).isfinite().all())


POSITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a pixel": lambda x: x[:, :, 0, 7].renorm(2, 0, 1.0),
    "a number of a pixel": lambda x: x * x[0, 0, 0, 7].item(),
    "tokens": lambda x: x.flatten(2).renorm(2, 0, 1.0),
    "into out": lambda x: torch.linalg.svdvals(x.mean((2, 3)), out=torch.empty(1)),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_are_still_refused(name: str) -> None:
    mask = torch.arange(SIZE).expand(SIZE, SIZE) < (0 if name == "into out" else 4)
    with pytest.raises(UnsupportedOperationError):
        ADForward(Apply(POSITIONS[name]).eval())(torch.randn(1, 3, SIZE, SIZE), mask=mask)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (1, SIZE, SIZE), (0, SIZE, SIZE), (1, 3, SIZE, SIZE)])
def test_an_empty_batch(shape: tuple[int, ...]) -> None:
    out = ADForward(Pooled(lambda v: v.flatten(1)).eval())(torch.randn(0, 3, SIZE, SIZE), mask=torch.rand(shape) > 0.5)
    assert out.shape == (0, CHANNELS)
