"""Max pooling that returns indices, and max unpooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from captum_ad._engine.definitions import attribute_positions, reduce_positions, renewed_mask
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.positions import transposed_windows
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.combined_masks import intersection
from captum_ad._engine.rules.pooling import sliding
from captum_ad._engine.rules.windows import Setting, geometry, per_dim

_RANKS = (1, 2, 3)


@register_rule(*(f"max_pool{rank}d_with_indices" for rank in _RANKS))
def max_pool_with_indices(
    ad: Interpreter,
    op: Callable[..., Any],
    input: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Tensor, Tensor]:
    """Like ``max_pool`` in ``pooling.py``; the indices get the mask of the values."""
    mask, rank = ad.mask(input), int(op.__name__.removeprefix("max_pool")[0])
    assert mask is not None
    slide = sliding(rank, input, kernel_size, stride, padding, dilation, ceil_mode)
    windows = slide.windows(input)
    if windows.everything:
        x, mask = ad.deactivate(input), reduce_positions(mask, input.shape, range(-rank, 0), tau=0.0).mask
    else:
        x, mask = ad.window_input(input, slide.reach), renewed_mask(mask, windows, ad.rule, ad.tau)
    values, indices = op(x, kernel_size, stride or kernel_size, padding, dilation, ceil_mode)
    return ad.emit(values, mask), ad.emit(indices, mask)


@register_rule(*(f"max_unpool{rank}d" for rank in _RANKS))
def max_unpool(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    indices: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Like a transposed convolution: Φ over the windows that may have had their maximum at a position.

    A value counts as dead if it or its index is dead.
    """
    rank = int(op.__name__.removeprefix("max_unpool")[0])
    masks = [written_mask(ad, x) for x in (input, indices) if ad.is_data(x)]
    mask = intersection(masks)
    values, places = ad.deactivate(input), ad.deactivate(indices)
    shape = op(values.detach(), places, kernel_size, stride, padding, output_size).shape
    size, first = shape[-rank:].numel(), input.dim() - rank
    places = places.masked_fill(mask.dead, size).flatten(first)  # past the map, so that dead values overwrite nothing
    out = values.new_zeros(*shape[:first], size + 1).scatter(-1, places, values.flatten(first))
    kernel = per_dim(kernel_size, rank)
    settings = kernel, per_dim(stride, rank) if stride else kernel, per_dim(padding, rank), [1] * rank
    windows = transposed_windows(geometry(input.shape[first:], shape[first:], *settings), input.device)
    mask = attribute_positions(mask, windows, ad.rule, ad.tau).mask
    found: Tensor = out[..., :size].unflatten(-1, shape[-rank:])
    return ad.emit(found, mask)
