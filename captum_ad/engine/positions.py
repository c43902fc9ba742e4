"""The position function pos (Definition 3) of each kind of window, as 0/1 matrices.

A window is a product over dimensions, so ``pos`` is one small matrix per dimension: a row for each
output position, a column for each input position, 1 where the output is computed from the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from captum_ad.engine.masks import Windows

_Grid = Callable[[Tensor, Tensor], Tensor]  # (output positions, input positions) -> booleans


def sliding_windows(
    inputs: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    device: torch.device,
) -> Windows:
    """Windows of a convolution or pool; `padding` is what is added in front of each dimension.

    At stride s an output position covers the s input positions in the middle of its window.
    """
    geometry = list(zip(inputs, outputs, kernel, stride, padding, dilation))
    return Windows([_sliding(*g, device) for g in geometry], [_sliding_cell(*g, device) for g in geometry])


def transposed_windows(
    inputs: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    device: torch.device,
) -> Windows:
    """Windows of a transposed convolution; an output position covers the input(s) nearest to it."""
    geometry = list(zip(inputs, outputs, kernel, stride, padding, dilation))
    return Windows([_transposed(*g, device) for g in geometry], [_transposed_cell(*g, device) for g in geometry])


def adaptive_windows(inputs: Sequence[int], outputs: Sequence[int], device: torch.device) -> Windows:
    """Windows of an adaptive pool, which tile the input: each covers what it reads."""
    reads = [_adaptive(*sizes, device) for sizes in zip(inputs, outputs)]
    return Windows(reads, reads)


def resized_windows(reads: Sequence[Tensor], device: torch.device) -> Windows:
    """Windows of an interpolation that reads as given; an output covers where it would be if stretched."""
    return Windows(reads, [_stretched(m.shape[1], m.shape[0], device) for m in reads])


def _matrix(inputs: int, outputs: int, device: torch.device, reads: _Grid) -> Tensor:
    with torch.inference_mode(False):
        out, into = torch.arange(outputs)[:, None], torch.arange(inputs)[None]
        return reads(out, into).to(device, torch.float32)


@lru_cache(maxsize=1024)
def _sliding(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, device: torch.device
) -> Tensor:
    def reads(out: Tensor, into: Tensor) -> Tensor:
        offset = into - (out * stride - padding)
        return (offset >= 0) & (offset <= dilation * (kernel - 1)) & (offset % dilation == 0)

    return _matrix(inputs, outputs, device, reads)


@lru_cache(maxsize=1024)
def _sliding_cell(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, device: torch.device
) -> Tensor:
    middle = (dilation * (kernel - 1) + 1 - stride + 1) // 2

    def covers(out: Tensor, into: Tensor) -> Tensor:
        offset = into - (out * stride - padding + middle)
        return (offset >= 0) & (offset < stride)

    return _matrix(inputs, outputs, device, covers)


@lru_cache(maxsize=1024)
def _transposed(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, device: torch.device
) -> Tensor:
    def reads(out: Tensor, into: Tensor) -> Tensor:
        offset = out + padding - into * stride
        return (offset >= 0) & (offset <= dilation * (kernel - 1)) & (offset % dilation == 0)

    return _matrix(inputs, outputs, device, reads)


@lru_cache(maxsize=1024)
def _transposed_cell(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, device: torch.device
) -> Tensor:
    def covers(out: Tensor, into: Tensor) -> Tensor:
        twice_distance = 2 * (out + padding - into * stride) - dilation * (kernel - 1)
        return twice_distance.abs() <= stride

    return _matrix(inputs, outputs, device, covers)


@lru_cache(maxsize=1024)
def _adaptive(inputs: int, outputs: int, device: torch.device) -> Tensor:
    def reads(out: Tensor, into: Tensor) -> Tensor:
        return (into >= out * inputs // outputs) & (into < -(-(out + 1) * inputs // outputs))

    return _matrix(inputs, outputs, device, reads)


@lru_cache(maxsize=1024)
def _stretched(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """Output and input as two partitions of one interval: 1 where their cells overlap."""

    def covers(out: Tensor, into: Tensor) -> Tensor:
        return (into * outputs < (out + 1) * inputs) & ((into + 1) * outputs > out * inputs)

    return _matrix(inputs, outputs, device, covers)
