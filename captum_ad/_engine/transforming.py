"""The axes of sorted values and of spectra, whose ranks and frequencies are computed from all positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from captum_ad._engine.axes import Axes, Axis, Role, axis, resized, role_of
from captum_ad._engine.dimensions import Call, follows

_KINDS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
FOURIER = tuple(getattr(torch.fft, kind + rank) for kind in _KINDS for rank in ("", "2", "n"))


@follows("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "softmax", "log_softmax", "softmin")
def _along(call: Call) -> Axes:
    """Positions stay in place, but each is computed from others along a dimension."""
    dim = call.given(1, "dim")
    return replace(call.x, mixed=call.x.mixed or (isinstance(dim, int) and call.x.crosses_samples([dim])))


@follows("sort", "argsort", "msort", "topk")
def _ordered(call: Call) -> Axes:
    return transformed(call.x, [ordered_dim(call.op.__name__, call.args[1:], call.kwargs)], call.out.shape)


def ordered_dim(name: str, args: Sequence[Any], named: dict[str, Any]) -> Any:
    """The dimension along which values are sorted, from the arguments after the tensor."""
    place = {"msort": 9, "topk": 1}.get(name, 0)
    return named.get("dim", args[place] if len(args) > place else 0 if name == "msort" else -1)


@follows(*FOURIER)
def _spectrum(call: Call) -> Axes:
    size = call.given(1, "n", "s")
    dims = fourier_dims(call.op.__name__, len(call.x.dims), size, call.given(2, "dim"))
    return transformed(call.x, dims, call.out.shape)


def fourier_dims(name: str, rank: int, size: Any, dim: Any) -> list[int]:
    """The dimensions of a Fourier transform, counted from 0."""
    if dim is None:
        last = 2 if name[-1] == "2" else rank if size is None or isinstance(size, int) else len(size)
        dim = -1 if name.endswith("fft") else range(rank - last, rank)
    return [d % rank for d in ([dim] if isinstance(dim, int) else dim)]


def transformed(x: Axes, over: Sequence[int], shape: Sequence[int]) -> Axes:
    """The axes after these dimensions become channels, as in a linear map; statistics stay statistics."""
    dims = list(x.dims)
    for d in over:
        stays = role_of(dims[d]) in (Role.UNKNOWN, Role.STATISTIC)
        dims[d] = axis(role_of(dims[d]) if stays else Role.CHANNEL, shape[d])
    return replace(x, dims=tuple(dims), scores=False, mixed=x.mixed or x.crosses_samples(over))


@follows("stft")
def _frames(call: Call) -> Axes:
    """A frame is a position, its frequencies are channels, and so are the two parts of each."""
    *lead, line = call.x.dims
    shape = call.out.shape[len(lead) :]
    parts: list[Axis] = [axis(Role.CHANNEL, n) for n in shape[2:]]
    return replace(call.x, dims=(*lead, axis(Role.CHANNEL, shape[0]), resized(line, shape[1]), *parts))


@follows("istft")
def _line(call: Call) -> Axes:
    *lead, _, frames = call.x.dims
    return replace(call.x, dims=(*lead, resized(frames, call.out.shape[-1])))


@follows("view_as_complex")
def _number(call: Call) -> Axes:
    return replace(call.x, dims=call.x.dims[:-1])
