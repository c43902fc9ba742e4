"""What is asked of every network, with random weights: Theorem 1 and missing means missing, under every preset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, UnsupportedOperationError
from captum_ad.testing import checks
from tests.architectures.table import Row


@dataclass(frozen=True)
class Network:
    """One network of a library.

    Parameters
    ----------
    name, library : str
        Its name in the table, and the section that it stands in.
    build : callable
        Makes it, untrained.
    size : tuple of int
        Size of its input, as small as is comfortable.
    select : callable, optional
        As in ADForward.
    exact : bool
        Whether a sample that is whole beside one that is not must give the plain network's bits; attention may take
        another kernel, and so round otherwise.
    refused : (str, str), optional
        A pattern of the error, and the reason in words, if the network has to be refused.
    slow : bool
        Whether it takes more than about three seconds.
    channels : int
        Channels of its input.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    size: tuple[int, ...] = (96, 96)
    select: Callable[[Any], Tensor] | None = None
    exact: bool = True
    refused: tuple[str, str] | None = None
    slow: bool = False
    channels: int = 3


def each(networks: Iterable[Network]) -> pytest.MarkDecorator:
    """The decorator of a test of every network."""
    marks = {True: [pytest.mark.slow], False: []}
    return pytest.mark.parametrize(
        "network", [pytest.param(n, id=n.name.replace(" ", "-"), marks=marks[n.slow]) for n in networks]
    )


@torch.inference_mode()
def check(network: Network, found: Callable[[str, str], Row]) -> None:
    """The properties, or the refusal, and a note of them in the network's row of the table."""
    torch.manual_seed(0)
    model = enlivened(network.build()).eval()
    row = found(network.library, network.name)
    row.parameters = sum(p.numel() for p in model.parameters())
    x = torch.randn(2, network.channels, *network.size, generator=torch.Generator().manual_seed(1))
    if network.refused is not None:
        pattern, reason = network.refused
        for rule in ("no-growth", "no-growth-mean"):  # by the paper's rule, all may be active again by then
            with pytest.raises(UnsupportedOperationError, match=pattern):
                ADForward(model, rule, select=network.select)(x, mask=half(network.size))
        row.refused = reason
        return
    try:
        row.theorem_1 = _theorem_1(network, model, x)
        row.missing = _missing_means_missing(network, model, x[:1])
    except UnsupportedOperationError as error:
        row.refused = str(error).partition(": the feature mask would be lost")[0]
        raise


def half(size: tuple[int, ...]) -> Tensor:
    """The left half deactivated."""
    mask = torch.ones(size, dtype=torch.bool)
    mask[..., : size[-1] // 2] = False
    return mask


def enlivened(model: nn.Module) -> nn.Module:
    """`model`, with random numbers where all of a tensor is one number.

    Fresh networks begin with branches scaled by zero or by 1e-6, and some with a head of zeros: nothing could go
    wrong there.
    """
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if p.numel() > 1 and bool((p == p.flatten()[0]).all()):
                nn.init.uniform_(p, 0.5, 1.5) if p.flatten()[0] == 1 else nn.init.normal_(p, std=0.1)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def _theorem_1(network: Network, model: nn.Module, x: Tensor) -> str:
    """Nothing missing: the network's bits. So too for a sample whose mask is full beside one whose mask is not."""
    plain = ADForward(model, select=network.select)(x)
    assert plain.isfinite().all()
    masks, same = torch.stack([torch.ones(network.size, dtype=torch.bool), half(network.size)]), True
    for rule in PRESETS:
        assert torch.equal(ADForward(model, rule, select=network.select)(x, mask=torch.ones_like(masks)), plain)
        for tau in (0.0, 0.3, 0.999999):
            masked = ADForward(model, rule, tau=tau, select=network.select)(x, mask=masks)
            same = same and torch.equal(masked[0], plain[0])
            assert same or not network.exact, (rule, tau)
            close = {"rtol": 1e-4, "atol": 1e-4 * float(plain.abs().max())}
            torch.testing.assert_close(masked[0], plain[0], **close, msg=lambda m, at=(rule, tau): f"{at}: {m}")
            assert not torch.equal(masked[1], plain[1]), (rule, tau)
    return "bit for bit" if same else "to rounding"


def _missing_means_missing(network: Network, model: nn.Module, x: Tensor) -> str:
    """Whatever stands behind the mask, in the input or in a layer, and NaN without a mask, gives the same bits."""
    mask = half(network.size)
    for rule in PRESETS:
        ad = ADForward(model, rule, select=network.select)
        found = checks.missing(ad, x, [mask[None]])
        assert found.passed, (rule, found)
        assert not torch.equal(ad(x), ad(x, mask=mask)), rule
        assert ad(x, mask=torch.zeros_like(mask)).isfinite().all()
    return "bit for bit"
