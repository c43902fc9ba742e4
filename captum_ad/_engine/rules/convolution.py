"""Convolutions and transposed convolutions in 1, 2 and 3 dimensions, with any stride, padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from captum_ad._engine.definitions import Windows, attribute_positions, renewed_mask
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.positions import Slide, transposed_windows
from captum_ad._engine.registry import register_rule, takes_parts
from captum_ad._engine.reshapes import reshaped_axes
from captum_ad._engine.rules.linear import places_mixed
from captum_ad._engine.rules.windows import geometry, per_dim


@register_rule("conv1d", "conv2d", "conv3d")
@takes_parts
def convolution(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Checkpoint before; M' = 1(Φ > τ) with Φ over the in-bounds positions of the window (Algorithm 1, lines 4-8)."""
    ad.only(input)
    rank = weight.dim() - 2
    kernel, steps, gaps = weight.shape[2:], per_dim(stride, rank), per_dim(dilation, rank)
    extent = [gap * (k - 1) for k, gap in zip(kernel, gaps)]
    if padding == "same":
        before, after = [e // 2 for e in extent], [e - e // 2 for e in extent]
    else:
        before = after = [0] * rank if isinstance(padding, str) else per_dim(padding, rank)
    sizes = [
        (size + first + last - e - 1) // step + 1
        for size, first, last, e, step in zip(input.shape[-rank:], before, after, extent, steps)
    ]
    if min(sizes) < 1:
        return op(input, weight, bias, stride, padding, dilation, groups)  # raises torch's error
    shape = (*input.shape[: -rank - 1], weight.shape[0], *sizes)
    slide = Slide(sizes, kernel, steps, before, gaps)
    mask = _behind(ad, input, shape, rank, lambda: slide.windows(input), groups, slide.is_by_position)

    def run(x: Tensor, margins: Sequence[int] | None) -> Tensor:
        return op(x, weight, bias, stride, padding if margins is None else margins, dilation, groups)

    return ad.by_windows(run, input, slide, mask, shape)


@register_rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Like a convolution; the window of an output position is the set of input positions that contribute to it."""
    ad.only(input)
    rank = weight.dim() - 2
    kernel, steps, gaps = weight.shape[2:], per_dim(stride, rank), per_dim(dilation, rank)
    reach = [gap * (k - 1) // step for k, gap, step in zip(kernel, gaps, steps)]
    x = ad.window_input(input, reach)
    out = op(x, weight, bias, stride, padding, output_padding, groups, dilation)
    windows = transposed_windows(
        geometry(input.shape[-rank:], out.shape[-rank:], kernel, steps, per_dim(padding, rank), gaps), input.device
    )
    return ad.emit(out, _behind(ad, input, out.shape, rank, lambda: windows, groups))


def _behind(
    ad: Interpreter,
    x: Tensor,
    shape: Sequence[int],
    rank: int,
    windows: Callable[[], Windows],
    groups: int,
    by_position: bool = False,
) -> PositionMask | None:
    """The mask of a convolution's output; `by_position`: each position is computed from itself alone."""
    mask, axes = ad.mask(x), ad.axes(x)
    if mask is None:
        return None
    assert axes is not None
    channel = x.dim() - rank - 1
    slides = any(size > 1 for size in x.shape[-rank:])
    tau = ad.tau if slides else ad.tau_over(x, [channel])  # of a single position, it is a linear map
    # With a mask per channel, a position is kept for a group if any channel of the group is. Positions that were merged
    # into the channel dimension count one by one.
    if mask.kept.shape[channel] > 1:
        split = reshaped_axes(axes, (*x.shape[:channel], groups, x.shape[channel] // groups, *x.shape[channel + 1 :]))
        grouped = mask.map(lambda part: part.unflatten(channel, (groups, -1)))
        mask = places_mixed(ad, grouped, channel + 1, split.dims[channel + 1], tau)
        places = mask.kept.shape[channel + 1]
        if places > 1 and tau:
            found = attribute_positions(mask, windows().beside(places), ad.rule, tau).mask
            return _spread(found.map(lambda part: part.squeeze(channel + 1)), channel, shape[channel] // groups)
        mask = mask.map(lambda part: part.any(channel + 1))
    if not by_position:
        mask = renewed_mask(mask, windows(), ad.rule, tau)
    return _spread(mask, channel, shape[channel] // groups)


def _spread(mask: PositionMask, channel: int, repeats: int) -> PositionMask:
    """Repeat each group's mask for all its output channels."""
    if mask.kept.shape[channel] == 1 or repeats == 1:
        return mask
    return mask.map(lambda part: part.repeat_interleave(repeats, channel))
