"""Selection by bits is selection: what is kept keeps its bits, what is dead is zero, whatever it was."""

from __future__ import annotations

import math

import pytest
import torch

from captum_ad import PositionMask
from captum_ad._engine.select import zero_, zeroed

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dead", ["anywhere", "in a corner", "one position", "nowhere"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "transposed", "every other"])
def test_as_masked_fill(dtype: torch.dtype, layout: str, dead: str) -> None:
    x = (torch.randn(2, 4, 6, 6) * 100).to(dtype)
    if dtype.is_floating_point:
        x[..., ::2, :] = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-7, 1]).to(dtype)
    if layout == "channels last":
        x = x.to(memory_format=torch.channels_last)
    x = {"transposed": x.transpose(1, 3), "every other": x[..., ::2]}.get(layout, x)
    kept = torch.rand(2, 1, *x.shape[2:]) < 0.5
    if dead != "anywhere":
        kept[:, :, 2:], kept[:, :, :, :1], kept[0] = True, True, True
    if dead in ("one position", "nowhere"):
        kept[:], kept[1, 0, 1, 2] = True, dead == "nowhere"
    mask = PositionMask(kept)
    expected = x.clone().masked_fill_(mask.dead, 0)
    out = zeroed(x, mask)
    assert out.stride() == expected.stride()
    assert torch.equal(_bits(out), _bits(expected))
    zero_(x, mask)
    assert torch.equal(_bits(x), _bits(expected))


def test_one_dimension() -> None:
    x, mask = torch.randn(70_000), PositionMask(torch.arange(70_000) > 100)
    zero_(x, mask)
    assert torch.equal(x == 0, mask.dead)


def _bits(x: torch.Tensor) -> torch.Tensor:
    """NaN is not equal to itself, but its bits are."""
    return torch.frombuffer(
        bytearray(
            x.contiguous().flatten().numpy().tobytes()
            if x.dtype != torch.bfloat16
            else x.contiguous().flatten().view(torch.int16).numpy().tobytes()
        ),
        dtype=torch.uint8,
    )


def test_gradients_pass_what_is_kept() -> None:
    x, mask = torch.randn(1, 2, 4, 4, requires_grad=True), PositionMask(torch.eye(4, dtype=torch.bool)[None, None])
    zeroed(x, mask).sum().backward()
    assert torch.equal(x.grad, mask.kept.expand(x.shape).float())
