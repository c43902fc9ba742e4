"""Averaged borders: of any type, the same in pieces, and written only where nobody else looks."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule
from captum_ad._engine import border
from captum_ad._engine.border import fill_border_
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.static import unknown_values
from tests.networks import Apply

MEAN = MaskRule("none", border="mean")
HALF = torch.arange(12).expand(12, 12) < 6


def test_of_whole_numbers_it_is_rounded_towards_zero() -> None:
    x = torch.rand(1, 2, 12, 12)
    whole = Apply(lambda x: F.max_pool2d((x * 100).int(), 2, 1).float()).eval()
    real = Apply(lambda x: F.max_pool2d((x * 100).int().float(), 2, 1)).eval()
    with torch.no_grad():
        assert torch.equal(ADForward(whole, MEAN)(x, mask=HALF), ADForward(real, MEAN)(x, mask=HALF).trunc())


@pytest.mark.parametrize("at_once", [1, 7, 100, 2**18])
def test_is_the_same_in_pieces(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = torch.rand(3, 1, 9, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    x = torch.randn(3, 5, 9, 8).masked_fill(~kept, 0)
    expected = fill_border_(x.clone(), PositionMask(kept), [2, 1])
    monkeypatch.setattr(border, "_AT_ONCE", at_once)
    assert torch.equal(fill_border_(x.clone(), PositionMask(kept), [2, 1]), expected)
    assert torch.equal(expected.where(kept, 0), x)


@pytest.mark.parametrize("seed", range(20))
def test_fills_what_is_read_as_if_all_were_read(seed: int) -> None:
    """And leaves out what no window reads and no later step needs."""
    generator = torch.Generator().manual_seed(seed)
    mask = PositionMask(torch.rand(2, 1, 11, 9, generator=generator) < 0.1)
    x = torch.randn(2, 3, 11, 9, generator=generator).where(mask.kept, 0)
    read = torch.rand(2, 1, 11, 9, generator=generator) < 0.1
    whole, found = fill_border_(x.clone(), mask, [3, 3]), fill_border_(x.clone(), mask, [3, 3], read)
    assert torch.equal(found.where(read, 0), whole.where(read, 0))
    assert bool(((found == whole) | (found == 0)).all())
    assert int((found != 0).sum()) < int((whole != 0).sum())
    nowhere = torch.zeros_like(read)
    assert torch.equal(fill_border_(x.clone(), mask, [3, 3], nowhere), x)


def test_around_a_frame_of_padding_it_is_that_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, and what stands in the frame is neither read nor overwritten."""
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(3, 1, 9, 8, generator=generator) < 0.3
    x = torch.randn(3, 5, 9, 8, generator=generator).where(kept, 0)
    frame = [2, 1, 0, 3]
    feature = F.pad(torch.ones_like(kept), frame)
    padded, mask = F.pad(x, frame, value=7.0), PositionMask(F.pad(kept, frame), feature)
    expected = F.pad(fill_border_(x.clone(), PositionMask(kept), [2, 1]), frame, value=7.0)
    assert torch.equal(fill_border_(padded.clone(), mask, [2, 1]), expected)
    monkeypatch.setattr(border, "_box_of_features", lambda mask: None)
    assert torch.equal(fill_border_(padded.clone(), mask, [2, 1]), expected)


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("kernel", [3, 4, 7])
@pytest.mark.parametrize("stride", [2, 3])
def test_at_a_stride_windows_read_what_they_would_of_a_whole_border(
    stride: int, kernel: int, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, kernel, stride, kernel // 2, dtype=torch.double)
    x, mask = torch.randn(2, 2, 24, 22, dtype=torch.double), torch.zeros(24, 22, dtype=torch.bool)
    mask[4 + shift : 13, 3:9] = mask[17:, 11 + shift : 16] = True
    with torch.no_grad():
        found = ADForward(conv, MEAN)(x, mask=mask)
        monkeypatch.setattr(border, "_needed", lambda steps, read, windowed: steps)
        assert torch.equal(ADForward(conv, MEAN)(x, mask=mask), found)


def test_of_one_mask_also_after_inference_mode() -> None:
    """What was planned for a mask in inference mode serves a later backward."""
    mask = PositionMask(HALF[None, None])
    x = torch.randn(1, 2, 12, 12).where(HALF, 0)
    with torch.inference_mode():
        expected = fill_border_(x.clone(), mask, [1, 1])
    asked = x.clone().requires_grad_()
    found = fill_border_(asked.clone(), mask, [1, 1])
    found.sum().backward()
    assert torch.equal(found, expected.clone())
    assert asked.grad is not None
    assert bool(asked.grad[..., 5].gt(1).all())


@pytest.mark.parametrize("negative", [torch.neg, nn.PReLU(init=-0.25)])
def test_negative_zeros_become_the_averages(negative: Callable[[Tensor], Tensor]) -> None:
    """What is clean already may hold -0 at deactivated positions."""
    conv = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.constant_(conv.weight, 1)
    model = nn.Sequential(nn.ZeroPad2d(1), Apply(negative), conv).eval()
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1, 1] = False
    with torch.no_grad():
        found = ADForward(model, MEAN)(torch.full((1, 1, 4, 4), 3.0), mask=mask)
        expected = conv(negative(F.pad(torch.full((1, 1, 4, 4), 3.0), (1, 1, 1, 1)))).where(mask, 0)
    assert torch.equal(found, expected)


def test_may_be_imported_again() -> None:
    """As by notebooks that reload what was edited."""
    importlib.reload(border)
    x, mask = torch.randn(1, 2, 12, 12).where(HALF, 0), PositionMask(HALF[None, None])
    with torch.no_grad(), unknown_values(lambda x: True):
        found = border.fill_border_(x.clone(), mask, [1, 1])
    assert torch.equal(found, fill_border_(x.clone(), mask, [1, 1]))


SHAPES = [  # and how far windows reach
    ((4, 9), [1]),
    ((3, 5, 9), [2]),
    ((5, 9, 8), [2, 1]),
    ((3, 5, 9, 8), [0, 1]),
    ((2, 3, 4, 5, 6), [1, 0, 2]),
    ((2, 3, 4, 5, 2), [1, 1, 1]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.complex128])
@pytest.mark.parametrize(("shape", "reach"), SHAPES)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_is_the_same_in_a_program(
    shape: tuple[int, ...], reach: list[int], dtype: torch.dtype, per_channel: bool, gradients: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    places = shape if per_channel else (*shape[: -len(reach) - 1], 1, *shape[-len(reach) :])
    mask = PositionMask(torch.rand(places, generator=generator) < 0.3)
    x = (10 * torch.randn(shape, generator=generator)).to(dtype).where(mask.kept, 0)
    with unknown_values(lambda x: True), torch.set_grad_enabled(gradients):
        recorded = fill_border_(x.clone(), mask, reach)
    torch.testing.assert_close(recorded, fill_border_(x.clone(), mask, reach))
    assert not torch.equal(recorded, x)


class TwoReaders(nn.Module):
    """A map that windows of two sizes read, and that is read by itself before, between and after."""

    def __init__(self, viewed: bool) -> None:
        super().__init__()
        self.viewed = viewed
        self.first = nn.Conv2d(2, 3, 3, padding=1, dtype=torch.double)
        self.small = nn.Conv2d(3, 3, 3, padding=1, dtype=torch.double)
        self.large = nn.Conv2d(3, 3, 5, padding=2, dtype=torch.double)
        self.last = nn.Conv2d(2, 3, 5, padding=2, dtype=torch.double)

    def forward(self, x: Tensor) -> Tensor:
        given = x.flip(1)  # zero where it is deactivated
        seen = given[:] if self.viewed else given
        x = F.relu(self.first(given), inplace=True)
        view = x[:, :2] if self.viewed else x
        y = self.small(x) + x
        y += self.large(x)
        return torch.cat([y, x, view.flip(1), F.avg_pool2d(x, 3, 1, 1), self.last(seen), seen.exp() * given], 1)


@pytest.mark.parametrize("viewed", [True, False])
@pytest.mark.parametrize("skip_dead", [True, False])
def test_nobody_else_sees_what_was_written(skip_dead: bool, viewed: bool) -> None:
    """With gradients nothing is written in place; without, the answer is the same."""
    ad = ADForward(TwoReaders(viewed).eval(), MEAN, skip_dead=skip_dead)
    x = torch.randn(2, 2, 128, 160, dtype=torch.double)
    mask = (torch.arange(160) < 70).expand(128, 160)  # large enough for the rest to be skipped
    expected = ad(x.clone().requires_grad_(), mask=mask)
    expected.sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(ad(x, mask=mask), expected.detach())
