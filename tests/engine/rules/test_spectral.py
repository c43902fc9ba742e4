"""Fourier transforms and complex numbers; the oracle's networks have masks of spectra, position by position."""

from __future__ import annotations

import math
from inspect import signature

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import UnsupportedOperationError
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    SAMPLES,
    WIDTH,
    Model,
    Pairs,
    assert_agree,
    both,
    every_preset,
    features,
    masks,
    run,
)

FILTER = torch.polar(torch.linspace(1, 2, WIDTH // 2 + 1), torch.linspace(-1, 1, WIDTH // 2 + 1)).to(torch.complex128)
HANN = {width: torch.hann_window(width, dtype=torch.double) for width in (6, 8)}
LENGTH, BINS = HEIGHT * WIDTH, 8


def wave(x: Tensor) -> Tensor:
    """One line of positions for each sample."""
    return x.mean(1).flatten(1)


def spectrogram(x: Tensor, window: int, center: bool, **kwargs: object) -> Tensor:
    return torch.stft(wave(x), BINS, 3, window, HANN[window], center=center, return_complex=True, **kwargs)


def convolved(x: Tensor, window: int, center: bool) -> Tensor:
    """The real part, by a convolution of as many taps as the window has."""
    line, first = wave(x)[:, None], (BINS - window) // 2
    angle = 2 * math.pi / BINS * torch.arange(BINS // 2 + 1).double()[:, None] * (torch.arange(window) + first)
    line = F.pad(line, (BINS // 2, BINS // 2), "reflect") if center else line
    line = line[..., first : line.shape[-1] - (BINS - window - first)]
    return F.conv1d(line, (angle.cos() * HANN[window])[:, None], stride=3)


def overlapped(spectra: Tensor) -> Tensor:
    """The inverse transform, frame by frame."""
    frames, ones = (
        torch.fft.irfft(spectra, BINS, 1) * WIDE[:, None],
        WIDE.square()[:, None].expand(BINS, spectra.shape[2]),
    )
    size = (1, BINS + 3 * (spectra.shape[2] - 1))
    total, weight = (F.fold(part, size, (1, BINS), stride=(1, 3)) for part in (frames, ones[None]))
    return (total / weight)[:, 0, 0, BINS // 2 : -(BINS // 2)]


WIDE = torch.hann_window(BINS, dtype=torch.double) + 0.1


def spectra(x: Tensor) -> Tensor:
    return torch.stft(wave(x), BINS, 3, window=WIDE, return_complex=True)


def back(x: Tensor) -> Tensor:
    return torch.istft(spectra(x), BINS, 3, window=WIDE)


PAIRS: Pairs = {
    "the mean of rows": (lambda x: torch.fft.fft(x)[..., 0].real, lambda x: x.sum(3)),
    "the mean of a map": (lambda x: torch.fft.fft2(x)[..., 0, 0].real, lambda x: x.sum((2, 3))),
    "some dimensions": (lambda x: torch.fft.fftn(x, dim=(2, 3)), lambda x: torch.fft.fft2(x)),
    "as many as sizes": (lambda x: torch.fft.rfftn(x, s=(6, 8)), lambda x: torch.fft.rfft2(x)),
    "what is not read": (lambda x: torch.fft.fft(x, 3), lambda x: torch.fft.fft(x[..., :3])),
    "what is not read of a spectrum": (
        lambda x: torch.fft.irfft(x, n=6, dim=3), lambda x: torch.fft.irfft(x[..., :4], n=6, dim=3)
    ),
    "zeros behind": (lambda x: torch.fft.ifft(x, n=11), lambda x: torch.fft.ifft(F.pad(x, (0, 3)))),
    "the other sign": (lambda x: torch.fft.ihfft(x), lambda x: torch.fft.rfft(x, norm="forward").conj().resolve_conj()),
    "shifted": (lambda x: torch.fft.fftshift(x, (2,)), lambda x: x.roll(3, 2)),
    "shifted back": (lambda x: torch.fft.ifftshift(x, dim=3), lambda x: x.roll(4, 3)),
    "filtered": (
        lambda x: torch.fft.irfft(torch.fft.rfft(x) * FILTER, WIDTH),
        lambda x: torch.fft.irfft(torch.complex(
            torch.fft.rfft(x).real * FILTER.real - torch.fft.rfft(x).imag * FILTER.imag,
            torch.fft.rfft(x).real * FILTER.imag + torch.fft.rfft(x).imag * FILTER.real,
        ), WIDTH),
    ),
    "parts": (
        lambda x: torch.view_as_real(torch.fft.fft(x)),
        lambda x: torch.stack([torch.real(torch.fft.fft(x)), torch.imag(torch.fft.fft(x))], -1),
    ),
    "parts and back": (
        lambda x: torch.view_as_complex(torch.view_as_real(torch.fft.fft(x))), lambda x: torch.fft.fft(x)
    ),
    "amplitude and phase": (
        lambda x: torch.polar(torch.fft.fft(x).abs(), torch.fft.fft(x).angle()), lambda x: torch.fft.fft(x)
    ),
    "stft": (lambda x: spectrogram(x, 6, False).real, lambda x: convolved(x, 6, False)),
    "stft, padded": (lambda x: spectrogram(x, 8, True).real, lambda x: convolved(x, 8, True)),
    "stft, parts": (
        lambda x: torch.stft(wave(x), BINS, return_complex=False, window=torch.ones(8).double()),
        lambda x: torch.view_as_real(wave(x).stft(BINS, return_complex=True, window=torch.ones(8).double())),
    ),
    "stft of one line": (
        lambda x: torch.stft(wave(x)[0], BINS, 4, return_complex=True, window=WIDE),
        lambda x: torch.stft(wave(x)[:1], BINS, 4, return_complex=True, window=WIDE)[0],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:stft with return_complex")
@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("rule", ["paper", "layer-masking"])
def test_there_and_back(rule: str, tau: float) -> None:
    """Where windows may grow, as frame by frame, and a sum."""
    assert_agree((back, lambda x: overlapped(spectra(x))), rule, tau)


@pytest.mark.parametrize("rule", ["no-growth", "no-growth-mean"])
def test_there_and_back_nothing_grows(rule: str) -> None:
    """But by as much as frames are apart."""
    for mask in masks().values():
        (_, dead), (_, was) = both(
            Model(lambda x: (back(x), wave(x)[:, : back(x).shape[1]])), rule, 0.0, features(), mask
        )
        near = F.max_pool1d((~was).double()[:, None], 7, 1, 3)[:, 0] > 0
        assert bool((dead | near).all())


def test_a_network_of_spectra_has_an_answer() -> None:
    def mixed(x: Tensor) -> Tensor:
        return torch.fft.fft2(torch.fft.fft(x, dim=1)).real.relu().mean((2, 3))

    for mask in masks().values():
        out = run(mixed, mask)
        assert out.shape == (SAMPLES, CHANNELS)
        assert bool(out.isfinite().all())


def test_what_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="mixes the samples"):
        run(lambda x: torch.fft.fftn(x).real, masks()["half"])
    with pytest.raises(UnsupportedOperationError, match="two features"):
        run(lambda x: torch.view_as_complex(x.unflatten(3, (4, 2))).abs(), masks()["half"])


@pytest.mark.skipif("align_to_window" not in signature(torch.stft).parameters, reason="newer torch has it")
@pytest.mark.parametrize("positional", [False, True])
def test_frames_aligned_to_the_window_are_refused(positional: bool) -> None:
    def aligned(x: Tensor) -> Tensor:
        if positional:
            return torch.stft(wave(x), BINS, 3, 6, WIDE[:6], False, "reflect", False, True, True, True).real
        return torch.stft(wave(x), BINS, 3, 6, WIDE[:6], False, align_to_window=True, return_complex=True).real

    with pytest.raises(UnsupportedOperationError, match="aligned to the window"):
        run(aligned, masks()["half"])
