"""Setting positions to zero, exactly and fast.

A value is kept or zeroed by a bitwise "and" with all ones or all zeros. Like ``masked_fill``, this
selects (NaN and Inf vanish, kept values keep their bits), but it is many times faster on a CPU,
where ``masked_fill`` is not vectorized.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ad._engine.crop import SMALLEST, WORTHWHILE, Box
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.static import is_recorded

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def zeroed(x: Tensor, mask: PositionMask) -> Tensor:
    """A copy of `x`, zero where dead. It keeps the strides of `x`, on which torch's choice of kernels depends."""
    if _has_bits(x):
        out = torch.empty_like(x)
        integers = _INTEGERS[x.itemsize]
        torch.bitwise_and(x.detach().view(integers), mask.bits(integers), out=out.view(integers))
        return out
    return x.clone().masked_fill_(mask.dead, 0)


def zero_(x: Tensor, mask: PositionMask) -> None:
    """Set `x` to zero where it is dead, in place; if the dead positions are in a small box, only the box is touched."""
    if _has_bits(x):
        looks = x.numel() >= SMALLEST and x.device.type == "cpu"
        integers, box = _INTEGERS[x.itemsize], mask.dead_box if looks else Box({})
        if box is not None:
            box = box if box.share(x.shape) <= WORTHWHILE else Box({})
            box.of(x.view(integers)).bitwise_and_(box.of(mask.bits(integers)))
    else:
        x.masked_fill_(mask.dead, 0)


def fill_(x: Tensor, y: Tensor, where: Tensor) -> None:
    """Write `y` into `x` where `where` is True; it broadcasts to both. May overwrite `y`."""
    if _has_bits(x) and x.dtype == y.dtype:
        integers = _INTEGERS[x.itemsize]
        chosen = -where.to(integers)
        x.view(integers).bitwise_and_(~chosen).bitwise_or_(y.view(integers).bitwise_and_(chosen))
    else:
        x.copy_(torch.where(where, y, x))


def _has_bits(x: Tensor) -> bool:
    """Whether the elements of `x` may be viewed as integers (not complex numbers, which may be lazily conjugated)."""
    if is_recorded() or (torch.is_grad_enabled() and x.requires_grad):  # compilers and autograd handle masked_fill
        return False
    return (x.is_floating_point() or not x.is_complex()) and x.itemsize in _INTEGERS and x.layout == torch.strided
