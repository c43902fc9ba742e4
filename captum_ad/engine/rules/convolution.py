"""Convolutions of any stride, padding, dilation and groups, transposed too, in 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask, Windows, attribute_positions
from captum_ad.engine.positions import Geometry, sliding_windows, transposed_windows
from captum_ad.engine.registry import register_rule


@register_rule("conv1d", "conv2d", "conv3d")
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
    """Checkpoint before; M ← 1(Φ > τ) with Φ over the in-bounds positions of the window."""
    ad.only(input)
    rank = weight.dim() - 2
    kernel, steps, gaps = weight.shape[2:], per_dim(stride, rank), per_dim(dilation, rank)
    extent = [gap * (k - 1) for k, gap in zip(kernel, gaps)]
    out = op(ad.window_input(input, extent), weight, bias, stride, padding, dilation, groups)
    if padding == "same":
        before = [e // 2 for e in extent]
    else:
        before = [0] * rank if isinstance(padding, str) else per_dim(padding, rank)
    if all(k == 1 and step == 1 and margin == 0 for k, step, margin in zip(kernel, steps, before)):
        windows = None
    else:
        windows = sliding_windows(geometry(input, out, kernel, steps, before, gaps), input.device)
    return ad.emit(out, _behind(ad, input, out, rank, windows, groups))


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
    """As a convolution, with the inputs that an output position receives from as its window."""
    ad.only(input)
    rank = weight.dim() - 2
    kernel, steps, gaps = weight.shape[2:], per_dim(stride, rank), per_dim(dilation, rank)
    reach = [gap * (k - 1) // step for k, gap, step in zip(kernel, gaps, steps)]
    x = ad.window_input(input, reach)
    out = op(x, weight, bias, stride, padding, output_padding, groups, dilation)
    windows = transposed_windows(geometry(input, out, kernel, steps, per_dim(padding, rank), gaps), input.device)
    return ad.emit(out, _behind(ad, input, out, rank, windows, groups))


def per_dim(value: int | Sequence[int], rank: int) -> list[int]:
    """A setting written once for all dimensions, or for each."""
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def geometry(x: Tensor, out: Tensor, *settings: Sequence[int]) -> list[Geometry]:
    """The geometry along each windowed dimension, from settings per dimension."""
    rank = len(settings[0])
    return [Geometry(*line) for line in zip(x.shape[-rank:], out.shape[-rank:], *settings)]


def _behind(
    ad: Interpreter, x: Tensor, out: Tensor, rank: int, windows: Windows | None, groups: int
) -> FeatureMask | None:
    """The mask of a convolution's output; `windows` None: each position is computed from itself."""
    mask = ad.mask(x)
    if mask is None:
        return None
    channel = x.dim() - rank - 1
    mask = _grouped(mask, channel, groups)
    if windows is not None:
        mask = attribute_positions(mask, windows, ad.rule, ad.tau).mask
    return _spread(mask, channel, out.shape[channel] // groups)


def _grouped(mask: FeatureMask, channel: int, groups: int) -> FeatureMask:
    """A position is active for a group of channels if any of them is."""

    def any_of_group(part: Tensor) -> Tensor:
        grouped: Tensor = part.unflatten(channel, (groups, -1))
        return grouped.any(channel + 1)

    return mask if mask.kept.shape[channel] == 1 else mask.map(any_of_group)


def _spread(mask: FeatureMask, channel: int, repeats: int) -> FeatureMask:
    """A group's mask for each of its output channels."""
    if mask.kept.shape[channel] == 1:
        return mask
    return mask.map(lambda part: part.repeat_interleave(repeats, channel))
