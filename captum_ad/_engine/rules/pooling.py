"""Pooling, adaptive and global pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.definitions import Attribution, attribute_positions, reduce_positions, renewed_mask
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.positions import Geometry, Slide, adaptive_windows
from captum_ad._engine.registry import register_rule, takes_parts
from captum_ad._engine.rules.windows import Setting, per_dim


@register_rule("max_pool1d", "max_pool2d", "max_pool3d")
@takes_parts
def max_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Checkpoint before; M' = 1(Φ > τ) with Φ over the positions of the window inside the input.

    To return indices, torch runs another operation, whose rule is in :mod:`captum_ad._engine.rules.unpooling`.
    """
    slide = sliding(_rank(op), input, kernel_size, stride, padding, dilation, ceil_mode)

    def run(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, padding, dilation, ceil_mode)

    def run_part(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, 0, dilation)

    return _slid(ad, run, input, slide, run_part if input.is_floating_point() else None, -math.inf)


@register_rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
@takes_parts
def avg_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mask of :func:`max_pool`; with ``average="active"``, the average is over active positions only."""
    slide = sliding(_rank(op), input, kernel_size, stride, padding, 1, ceil_mode)
    divisor = {} if divisor_override is None else {"divisor_override": divisor_override}

    def run(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, padding, ceil_mode, count_include_pad, **divisor)

    def run_part(x: Tensor) -> Tensor:
        return op(x, kernel_size, stride or kernel_size, 0, **divisor)

    of_kernel_size = not ceil_mode and (count_include_pad or not any(slide.padding))  # all windows have one divisor
    return _slid(ad, run, input, slide, run_part if of_kernel_size else None, average=True)


@register_rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
@takes_parts
def adaptive_avg_pool(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, output_size: Any) -> Tensor:
    """Like :func:`avg_pool`, over windows that tile the input."""
    return _adaptive(ad, op, input, output_size, average=True)


@register_rule(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
def adaptive_max_pool(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, output_size: Any, return_indices: bool = False
) -> Tensor:
    """Like :func:`max_pool`, over windows that tile the input."""
    return _adaptive(ad, op, input, output_size, average=False)


@register_rule("lp_pool1d", "lp_pool2d", "lp_pool3d")
def lp_pool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    norm_type: float,
    kernel_size: Setting,
    stride: Setting | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The mask of :func:`max_pool`. The p-norm of a window is a sum, to which a dead position (zero) adds nothing."""
    if norm_type <= 0:
        ad.refuse(f"has norm_type={norm_type}, which zeros would change (norm_type > 0 has a rule)")

    def run(x: Tensor) -> Tensor:
        return op(x, norm_type, kernel_size, stride, ceil_mode)

    return _slid(ad, run, input, sliding(_rank(op), input, kernel_size, stride, 0, 1, ceil_mode), None)


def over_active(average: Tensor, found: Attribution) -> Tensor:
    """Turn an average over all features into an average over the kept ones."""
    return rescaled(average, features_to_kept(found))


def features_to_kept(found: Attribution) -> Tensor:
    """The ratio features / kept, 1 where nothing is kept."""
    return (found.features / found.kept.clamp(min=1)).where(found.kept > 0, 1)


def rescaled(average: Tensor, scale: Tensor) -> Tensor:
    """``average * scale`` in the dtype of `average`; `scale` may be larger than float16 can hold."""
    return (average * scale).to(average.dtype)


def sliding(
    rank: int, x: Tensor, kernel_size: Setting, stride: Setting | None, padding: Setting, dilation: Setting, ceil: bool
) -> Slide:
    """The windows of a pool with these settings; `ceil`: its ``ceil_mode``."""
    kernel, pads, gaps = (per_dim(setting, rank) for setting in (kernel_size, padding, dilation))
    steps = per_dim(stride, rank) if stride else kernel
    sizes = []
    for size, k, step, pad, gap in zip(x.shape[-rank:], kernel, steps, pads, gaps):
        room = size + 2 * pad - gap * (k - 1) - 1
        count = (-(-room // step) if ceil else room // step) + 1
        sizes.append(count - (ceil and (count - 1) * step >= size + pad))  # the last window starts inside the input
    return Slide(sizes, kernel, steps, pads, gaps)


def _slid(
    ad: Interpreter,
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    slide: Slide,
    run_part: Callable[[Tensor], Tensor] | None,
    beyond: float = 0.0,
    average: bool = False,
) -> Tensor:
    """Emit a pool over sliding windows; `run_part` runs it on input that is already padded with `beyond`."""
    mask, rank = ad.mask(x), len(slide.kernel)
    if min(slide.sizes) < 1:
        return ad.emit(run(ad.deactivate(x)), None)  # raises torch's error
    windows = slide.windows(x)
    if mask is not None and windows.everything:
        return _global(ad, run, x, rank, average, any_size=False)
    shape = (*x.shape[:-rank], *slide.sizes)
    active = mask is not None and average and ad.rule.average == "active"
    if mask is not None and active:
        found = attribute_positions(mask, windows, ad.rule, ad.tau)
        mask = found.mask
    elif mask is not None:
        mask = renewed_mask(mask, windows, ad.rule, ad.tau)

    def run_any(x: Tensor, padding: Sequence[int] | None) -> Tensor:
        return run(x) if padding is None or run_part is None else run_part(x)

    by_part = run_part is not None
    out = ad.by_windows(run_any, x, slide, mask, shape, beyond=beyond, by_part=by_part, fills=not active)
    return ad.by_position(rescaled, [out, ad.constant(features_to_kept(found))], mask) if active else out


def _adaptive(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, output_size: Any, average: bool) -> Tensor:
    rank, mask = _rank(op), ad.mask(x)
    wanted = [output_size] * rank if output_size is None or isinstance(output_size, int) else output_size
    sizes = [size if n is None else n for n, size in zip(wanted, x.shape[-rank:])]

    def run(x: Tensor) -> Tensor:
        return op(x, output_size)

    if len(wanted) == rank and all(n == 1 for n in sizes):
        return _global(ad, run, x, rank, average)
    out = run(ad.deactivate(x))
    if mask is None:
        return ad.emit(out, None)
    windows = adaptive_windows([Geometry(*line) for line in zip(x.shape[-rank:], out.shape[-rank:])], x.device)
    found = attribute_positions(mask, windows, ad.rule, ad.tau)
    if average and ad.rule.average == "active":
        out = over_active(out, found)
    elif ad.rule.border == "mean":
        out = run(ad.window_input(x, [int(matrix.sum(1).max()) - 1 for matrix in windows.reads]))  # widest window
    return ad.emit(out, found.mask)


def _global(
    ad: Interpreter, run: Callable[[Tensor], Tensor], x: Tensor, rank: int, average: bool, any_size: bool = True
) -> Tensor:
    """Emit a pool over the whole map: a statistic, which has no position of its own and is active if anything is."""
    mask, dims = ad.mask(x), range(x.dim() - rank, x.dim())
    out = ad.mean_over(run, x, dims) if average and any_size else run(ad.deactivate(x))
    if mask is None:
        return ad.emit(out, None)
    found = reduce_positions(mask, x.shape, dims, tau=0.0)
    if average and ad.rule.average == "active":
        out = over_active(out, found)
    return ad.emit(out, found.mask)


def _rank(op: Callable[..., Tensor]) -> int:
    return int(op.__name__.removesuffix("d")[-1])
