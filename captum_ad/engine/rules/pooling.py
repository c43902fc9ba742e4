"""Pooling, adaptive and global pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import Attribution, Windows, attribute_positions, reduce_positions
from captum_ad.engine.positions import Geometry, adaptive_windows, sliding_windows
from captum_ad.engine.registry import register_rule
from captum_ad.engine.rules.convolution import geometry, per_dim

_Setting = int | Sequence[int]


@register_rule("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    kernel_size: _Setting,
    stride: _Setting | None = None,
    padding: _Setting = 0,
    dilation: _Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Checkpoint before; Φ over the window."""
    if return_indices:
        ad.refuse("returns indices, which no mask can follow")
    rank = _rank(op)
    kernel, gaps = per_dim(kernel_size, rank), per_dim(dilation, rank)

    def run(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, padding, dilation, ceil_mode)

    reach = [gap * (k - 1) for k, gap in zip(kernel, gaps)]
    return _pooled(ad, run, input, reach, lambda out: _sliding(input, out, kernel, stride, padding, gaps))


@register_rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    kernel_size: _Setting,
    stride: _Setting | None = None,
    padding: _Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Checkpoint before; Φ over the window; over active positions only, if ``average="active"``."""
    rank = _rank(op)
    kernel = per_dim(kernel_size, rank)
    divisor = {} if divisor_override is None else {"divisor_override": divisor_override}

    def run(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, padding, ceil_mode, count_include_pad, **divisor)

    def windows(out: Tensor) -> Windows:
        return _sliding(input, out, kernel, stride, padding, [1] * rank)

    return _pooled(ad, run, input, [k - 1 for k in kernel], windows, average=True)


@register_rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_avg_pool(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, output_size: Any) -> Tensor:
    """As :func:`avg_pool`, over windows that tile the input."""
    return _adaptive(ad, op, input, output_size, average=True)


@register_rule(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
def adaptive_max_pool(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, output_size: Any, return_indices: bool = False
) -> Tensor:
    """As :func:`max_pool`, over windows that tile the input."""
    if return_indices:
        ad.refuse("returns indices, which no mask can follow")
    return _adaptive(ad, op, input, output_size, average=False)


@register_rule("lp_pool1d", "lp_pool2d", "lp_pool3d")
def lp_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    norm_type: float,
    kernel_size: _Setting,
    stride: _Setting | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window, which is a sum: a dead position contributes nothing."""
    if norm_type <= 0:
        ad.refuse("has a norm to which zeros contribute")
    rank = _rank(op)
    kernel = per_dim(kernel_size, rank)

    def run(x: Tensor) -> Tensor:
        return op(x, norm_type, kernel_size, stride, ceil_mode)

    reach = [k - 1 for k in kernel]
    return _pooled(ad, run, input, reach, lambda out: _sliding(input, out, kernel, stride, 0, [1] * rank))


def _adaptive(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, output_size: Any, average: bool) -> Tensor:
    rank = _rank(op)

    def windows(out: Tensor) -> Windows:
        return adaptive_windows(
            [Geometry(*sizes) for sizes in zip(input.shape[-rank:], out.shape[-rank:])], input.device
        )

    return _pooled(ad, lambda x: op(x, output_size), input, None, windows, average)


def _sliding(
    input: Tensor, out: Tensor, kernel: Sequence[int], stride: _Setting | None, padding: _Setting, gaps: Sequence[int]
) -> Windows:
    rank = len(kernel)
    steps = per_dim(stride, rank) if stride else list(kernel)
    return sliding_windows(
        geometry(input.shape[-rank:], out.shape[-rank:], kernel, steps, per_dim(padding, rank), gaps), input.device
    )


def _pooled(
    ad: Interpreter,
    run: Callable[[Tensor], Tensor],
    input: Tensor,
    reach: Sequence[int] | None,
    windows_of: Callable[[Tensor], Windows],
    average: bool = False,
) -> Tensor:
    """Pool and renew the mask; `reach` None: as far as the widest window."""
    mask = ad.mask(input)
    out = run(ad.deactivate(input))
    if mask is None:
        return ad.emit(out, None)
    windows = windows_of(out)
    rank, over_active_only = len(windows.reads), average and ad.rule.average == "active"
    if all(len(matrix) == 1 and bool(matrix.all()) for matrix in windows.reads):
        # One statistic of the whole map has no position of its own: active if anything is.
        found = reduce_positions(mask, input.shape, range(input.dim() - rank, input.dim()), tau=0.0)
    else:
        found = attribute_positions(mask, windows, ad.rule, ad.tau)
        if ad.rule.border == "mean" and not over_active_only:
            reach = reach or [int(matrix.sum(1).max()) - 1 for matrix in windows.reads]
            out = run(ad.window_input(input, reach))
    if over_active_only:
        out = over_active(out, found)
    return ad.emit(out, found.mask)


def over_active(average: Tensor, found: Attribution) -> Tensor:
    """An average over all features turned into one over the kept ones."""
    scale = (found.features / found.kept.clamp(min=1)).where(found.kept > 0, 1)  # may exceed what float16 holds
    return (average * scale).to(average.dtype)


def _rank(op: Callable[..., Tensor]) -> int:
    return int(op.__name__.removesuffix("d")[-1])
