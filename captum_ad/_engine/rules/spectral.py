"""Fourier transforms, where each frequency is computed from all positions or from a window; and complex numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.definitions import attribute_positions
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.positions import Geometry, sliding_windows, transposed_windows
from captum_ad._engine.registry import register_rule
from captum_ad._engine.rules.elementwise import conversion
from captum_ad._engine.rules.ordering import refuse_samples
from captum_ad._engine.rules.reduction import reduced_mask
from captum_ad._engine.rules.shape import move
from captum_ad._engine.transforming import FOURIER, fourier_dims

_PARTS = (torch.real, torch.imag, Tensor.real.__get__, Tensor.imag.__get__)  # type: ignore[attr-defined]

register_rule(torch.fft.fftshift, torch.fft.ifftshift)(move)
register_rule(*_PARTS)(conversion)


@register_rule(*FOURIER)
def transform(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    n: Any = None,
    dim: Any = None,
    norm: str | None = None,
    *,
    s: Any = None,
) -> Tensor:
    """Checkpoint before; Φ over all transformed positions, for each frequency. Frequencies are channels."""
    size = n if s is None else s
    dims = fourier_dims(op.__name__, input.dim(), size, dim)
    refuse_samples(ad, input, *dims)
    sizes = [None] * len(dims) if size is None else [size] if isinstance(size, int) else list(size)
    x = input
    for d, read in zip(dims, _read(op.__name__, sizes)):
        if read is not None and 0 < read < input.shape[d]:
            x = ad.follow(Tensor.narrow, x, d, 0, read)
    mask = None if ad.mask(x) is None else reduced_mask(ad, x, dims, True)[0].mask
    return ad.emit(op(ad.deactivate(x), size, dims if op.__name__[-1] in "2n" else dims[0], norm), mask)


def _read(name: str, sizes: Sequence[int | None]) -> Sequence[int | None]:
    """The number of positions that are read along each dimension; n // 2 + 1 in the last one if the result is real."""
    half = name.removeprefix("fft_").startswith(("irfft", "hfft"))
    if not half or sizes[-1] is None or sizes[-1] < 0:
        return sizes
    return [*sizes[:-1], sizes[-1] // 2 + 1]


@register_rule("stft")
def short_time_transform(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, n_fft: int, hop_length: int | None = None,
    win_length: int | None = None, window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect",
    *settings: Any, **named: Any,
) -> Tensor:  # fmt: skip
    """Like a convolution whose kernels are waves: frames are positions, frequencies are channels."""
    ad.only(input)
    if named.get("align_to_window") or len(settings) > 3:
        ad.refuse("has frames that are aligned to the window")
    hop, width, x = hop_length or n_fft // 4, win_length or n_fft, input
    if x.dim() == 1:
        rest = (window, center, pad_mode, *settings)
        return ad.follow(lambda: torch.stft(x[None], n_fft, hop, width, *rest, **named).squeeze(0))
    if center:
        x = ad.follow(_padded, input, n_fft // 2, pad_mode)
        ad.complete(x)
    read = ad.window_input(x, [width - 1])
    out = torch.stft(read, n_fft, hop, width, window, False, pad_mode, *settings, **named)
    mask, parts = ad.mask(x), (None,) * (out.dim() - 3)  # one more dimension if the result is a pair of real numbers
    if mask is not None:
        line = Geometry(x.shape[-1], out.shape[2], width, hop, -((n_fft - width) // 2))
        mask = attribute_positions(mask, sliding_windows([line], x.device), ad.rule, ad.tau).mask
        mask = mask.map(lambda part: part.unsqueeze(-2)[(..., *parts)])
    return ad.emit(out, mask)


def _padded(x: Tensor, margin: int, mode: str) -> Tensor:
    return F.pad(x.reshape(-1, 1, x.shape[-1]), (margin, margin), mode).reshape(*x.shape[:-1], -1)


@register_rule("istft")
def inverse_short_time_transform(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, n_fft: int, hop_length: int | None = None,
    win_length: int | None = None, window: Tensor | None = None, center: bool = True, *settings: Any, **named: Any,
) -> Tensor:  # fmt: skip
    """Checkpoint before; invert each frame, then add overlapping frames like a transposed convolution."""
    ad.only(input)
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    mask = reduced_mask(ad, input, [input.dim() - 2], False)[0].mask.map(lambda part: part.squeeze(-2))
    out = op(ad.deactivate(input), n_fft, hop, width, window, center, *settings, **named)
    start = (n_fft // 2 if center else 0) - (n_fft - width) // 2
    line = Geometry(input.shape[-1], out.shape[-1], width, hop, start)
    return ad.emit(out, attribute_positions(mask, transposed_windows([line], out.device), ad.rule, ad.tau).mask)


@register_rule("view_as_real", always=True)
def as_real(ad: Interpreter, op: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Both parts of a complex number get its mask."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    mask = mask and mask.map(lambda part: part.unsqueeze(-1))
    return ad.emit(op(x), mask, clean=clean)


@register_rule("view_as_complex", always=True)
def as_complex(ad: Interpreter, op: Callable[..., Tensor], x: Tensor) -> Tensor:
    """A complex number is one feature, so its two parts must share a mask."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    if mask is not None and mask.kept.shape[-1] > 1:
        ad.refuse("makes one number of two features (use torch.complex)")
    mask = mask and mask.map(lambda part: part.squeeze(-1))
    return ad.emit(op(x), mask, clean=clean)
