"""Networks in several spellings give the same answer under every preset and every τ."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward

Spelling = Callable[["Network", Tensor], Tensor]

SIZE = 8
X = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()
MASK = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(5)) > 0.3
MASK[0, :, :4] = MASK[1, 5:] = False
HELD = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1)) > 0.5

CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def _by_cell(kernel: Tensor) -> Tensor:
    """A 2×2 kernel for the slices at ``CELLS``, one after the other."""
    return torch.cat([kernel[:, :, i, j] for i, j in CELLS], 1)


def _nested(h: Tensor) -> Tensor:
    rows = torch.cat([h[:, :, 0::2], h[:, :, 1::2]], 1)
    return torch.cat([rows[..., ::2], rows[..., 1::2]], 1)


STRIDED: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel, net.bias, stride=2),
    lambda net, h: F.conv2d(F.pixel_unshuffle(h, 2), net.kernel.reshape(6, 16, 1, 1), net.bias),
    lambda net, h: F.linear(
        h.reshape(-1, 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).flatten(3), net.kernel.flatten(1), net.bias
    ).permute(0, 3, 1, 2),
    lambda net, h: (net.kernel.flatten(1) @ F.unfold(h, 2, stride=2) + net.bias[:, None]).unflatten(2, (4, 4)),
    lambda net, h: (
        torch.einsum("nchiwj,kcij->nkhw", h.reshape(-1, 4, 4, 2, 4, 2), net.kernel) + net.bias[:, None, None]
    ),
    lambda net, h: F.linear(
        torch.cat([h.permute(0, 2, 3, 1)[:, i::2, j::2] for i, j in CELLS], -1), _by_cell(net.kernel), net.bias
    ).permute(0, 3, 1, 2),
    lambda net, h: F.conv2d(
        torch.cat([h[..., i::2, j::2] for i, j in CELLS], 1), _by_cell(net.kernel)[..., None, None], net.bias
    ),
    lambda net, h: F.conv2d(
        torch.cat([h[:, :, i:][:, :, ::2][..., j::2].relu() for i, j in CELLS], 1),
        _by_cell(net.kernel)[..., None, None],
        net.bias,
    ),
    lambda net, h: F.linear(
        torch.cat([h[..., i::2, j::2].flatten(2) for i, j in CELLS], 1).mT, _by_cell(net.kernel), net.bias
    ).mT.unflatten(2, (4, 4)),
    lambda net, h: F.conv2d(_nested(h), net.kernel.permute(0, 3, 2, 1).reshape(6, 16, 1, 1), net.bias),
    lambda net, h: F.linear(
        torch.stack([h[..., i::2, j::2] for i, j in CELLS], -1).permute(0, 2, 3, 4, 1).flatten(3),
        _by_cell(net.kernel),
        net.bias,
    ).permute(0, 3, 1, 2),
    lambda net, h: (
        torch.einsum("anchw,kca->nkhw", torch.stack([h[..., i::2, j::2] for i, j in CELLS]), net.kernel.flatten(2))
        + net.bias[:, None, None]
    ),
]
HALVES: list[Spelling] = [
    lambda net, h: F.linear(h.reshape(-1, 4, 8, 2, 4).permute(0, 2, 4, 3, 1).flatten(3), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(torch.cat(h.permute(0, 2, 3, 1).chunk(2, 2), -1), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(torch.cat(h.permute(0, 2, 3, 1).split(4, dim=2), -1), net.kernel.flatten(1)[:, :8]),
    lambda net, h: F.linear(
        torch.cat([h.narrow(3, 0, 4), h.narrow(3, start=4, length=4)], 1).permute(0, 2, 3, 1),
        net.kernel.flatten(1)[:, :8],
    ),
]
OVERLAPPING: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel, net.bias),
    lambda net, h: (net.kernel.flatten(1) @ F.unfold(h, 2) + net.bias[:, None]).unflatten(2, (7, 7)),
    lambda net, h: F.linear(F.unfold(h, 2).mT, net.kernel.flatten(1), net.bias).mT.unflatten(2, (7, 7)),
]
GROUPED: list[Spelling] = [
    lambda net, h: F.conv2d(h, net.kernel[:, :2], net.bias, stride=2, groups=2),
    lambda net, h: F.conv2d(F.pixel_unshuffle(h, 2), net.kernel[:, :2].reshape(6, 8, 1, 1), net.bias, groups=2),
]
SLID: list[Spelling] = [
    OVERLAPPING[0],
    lambda net, h: F.conv2d(
        torch.cat([h[..., i : i + 7, j : j + 7] for i, j in CELLS], 1), _by_cell(net.kernel)[..., None, None], net.bias
    ),
]
ZERO_BORDERS = {"strided": STRIDED, "overlapping": OVERLAPPING, "grouped": GROUPED, "halves": HALVES, "slid": SLID}
"""Windows that are spelled out read zeros where nothing is kept, whatever the knob ``border`` says."""


def plus_its_mean(h: Tensor) -> Tensor:
    return h + h.mean((2, 3), keepdim=True)


SPELLINGS: dict[str, list[Spelling]] = {
    "zeroed": [
        lambda net, h: h.masked_fill(HELD, 0),
        lambda net, h: torch.where(HELD, 0, h),
        lambda net, h: h * ~HELD,
        lambda net, h: h.mul((~HELD).double()),
    ],
    "sum": [
        lambda net, h: h + 2 * h.flip(-1),
        lambda net, h: torch.add(h, h.flip(-1), alpha=2),
        lambda net, h: torch.stack([h, 2 * h.flip(-1)]).sum(0),
        lambda net, h: torch.stack([h, 2 * h.flip(-1)], -1).sum(-1),
    ],
    "mean of maps": [
        lambda net, h: (h + h.flip(-1)) / 2,
        lambda net, h: torch.stack([h, h.flip(-1)]).mean(0),
        lambda net, h: torch.lerp(h, h.flip(-1), 0.5),
    ],
    "mean": [
        lambda net, h: h.mean((2, 3)),
        lambda net, h: h.flatten(2).mean(-1),
        lambda net, h: F.adaptive_avg_pool2d(h, 1).flatten(1),
        lambda net, h: F.adaptive_avg_pool2d(h, (1, 1)).flatten(1),
        lambda net, h: F.avg_pool2d(h, SIZE).flatten(1),
        lambda net, h: h.permute(2, 3, 0, 1).flatten(0, 1).mean(0),
    ],
    "less its mean": [
        lambda net, h: h - h.mean((2, 3), keepdim=True),
        lambda net, h: h - h.mean((2, 3))[:, :, None, None],
        lambda net, h: h - h.mean((2, 3)).reshape(*h.shape[:2], 1, 1).expand_as(h),
        lambda net, h: (h.permute(2, 3, 0, 1) - h.mean((2, 3))).permute(2, 3, 0, 1),
        lambda net, h: torch.stack([one - one.mean((1, 2), keepdim=True) for one in h]),
        lambda net, h: h - torch.stack([h.mean((2, 3))]).squeeze(0)[..., None, None],
    ],
    "less the mean of its rows": [
        lambda net, h: h - F.adaptive_avg_pool2d(h, (None, 1)),
        lambda net, h: h - h.mean(3, keepdim=True),
        lambda net, h: (
            (lambda rows: rows - rows.mean(-1, keepdim=True))(h.transpose(1, 2).flatten(0, 1))
            .unflatten(0, (-1, SIZE))
            .transpose(1, 2)
        ),
    ],
    "less a pixel": [
        lambda net, h: h - h[:, :, :1, :1],
        lambda net, h: h - h[:, :, 0, 0][..., None, None],
        lambda net, h: h - h.flatten(2)[..., :1, None],
        lambda net, h: h - h.flatten(2)[..., 0][..., None, None],
        lambda net, h: h - h.flatten(2).narrow(2, 0, 1).unsqueeze(2),
        lambda net, h: h - h.flatten(2)[..., torch.tensor([0])].unflatten(2, (1, 1)),
        lambda net, h: h - h.flatten(2)[..., :1, None].expand_as(h),
        lambda net, h: h - h.flatten(2)[..., :1, None].repeat(1, 1, SIZE, SIZE),
    ],
    "less a pixel, and its mean": [
        lambda net, h: plus_its_mean(h - h[:, :, :1, :1]),
        lambda net, h: plus_its_mean(h - h[:, :, 0, 0][..., None, None]),
        lambda net, h: plus_its_mean(h - h.flatten(2)[..., :1, None]),
        lambda net, h: plus_its_mean(h - h.flatten(2)[..., :1, None].expand_as(h)),
    ],
    "less the mean of its first row": [
        lambda net, h: h - h[:, :, 0].mean(-1)[..., None, None],
        lambda net, h: h - h[:, :, :1].mean(-1, keepdim=True),
    ],
    "less the first of its rows' means": [
        lambda net, h: h - h.mean(-1, keepdim=True)[:, :, :1],
        lambda net, h: h - h.mean(-1)[..., :1, None],
    ],
    "tokens and their mean": [
        lambda net, h: (lambda y: y + y.mean((1, 2), keepdim=True))(h.flatten(2).mT),
        lambda net, h: (lambda y: y + y.mean((1, 2), keepdim=True))(h[:, torch.arange(4)].flatten(2).mT),
        lambda net, h: (lambda y: y + y.mean((1, 2), keepdim=True))(torch.stack([h]).squeeze(0).flatten(2).mT),
    ],
    "attention without oneself": [
        lambda net, h: net.attend(h, lambda scores, own: scores.masked_fill(own, -torch.inf)),
        lambda net, h: net.attend(h, lambda scores, own: scores.masked_fill(own, -1e9)),
        lambda net, h: net.attend(h, lambda scores, own: scores.masked_fill(own, -9e3)),
        lambda net, h: net.attend(h, lambda scores, own: scores + own * -1e9),
        lambda net, h: net.attend(
            h, lambda scores, own: scores + torch.zeros_like(own, dtype=h.dtype).masked_fill(own, -torch.inf)
        ),
        lambda net, h: net.attend(h, lambda scores, own: torch.where(own, -torch.inf, scores)),
    ],
    "enlarged and shifted": [
        lambda net, h: F.interpolate(h, scale_factor=2.0).roll(1, 2)[..., 1:].roll(3, 3),
        lambda net, h: h.repeat_interleave(2, 2).repeat_interleave(2, 3).roll(1, 2)[..., 1:].roll(3, 3),
        lambda net, h: (
            h[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(2, 4, 16, 16).roll(1, 2)[..., 1:].roll(3, 3)
        ),
    ],
    "turned": [
        lambda net, h: h.mT,
        lambda net, h: torch.einsum("nchw->ncwh", h),
        lambda net, h: torch.einsum("...hw->...wh", h),
    ],
    "a vector, mixed": [
        lambda net, h: F.linear(45 + 10 * h.mean((2, 3)), net.kernel[:, :, 0, 0], net.bias),
        lambda net, h: (45 + 10 * h.mean((2, 3))) @ net.kernel[:, :, 0, 0].T + net.bias,
        lambda net, h: torch.einsum("nc,kc->nk", 45 + 10 * h.mean((2, 3)), net.kernel[:, :, 0, 0]) + net.bias,
        lambda net, h: torch.tensordot(45 + 10 * h.mean((2, 3)), net.kernel[:, :, 0, 0], ([1], [1])) + net.bias,
        lambda net, h: torch.stack(
            [F.linear(45 + 10 * one.mean((1, 2)), net.kernel[:, :, 0, 0], net.bias) for one in h]
        ),
    ],
    "a gate": [
        lambda net, h: h * F.conv2d(h.mean((2, 3), keepdim=True), net.gate[..., None, None]).sigmoid(),
        lambda net, h: h * F.conv1d(h.flatten(2).mean(2, keepdim=True), net.gate[..., None]).sigmoid()[..., None],
        lambda net, h: h * F.linear(h.mean((2, 3)), net.gate).sigmoid()[..., None, None],
        lambda net, h: torch.einsum("nchw,nc->nchw", h, F.linear(h.mean((2, 3)), net.gate).sigmoid()),
    ],
    "a gate beside constants": [
        lambda net, h: h.masked_fill(HELD, 0) * h.mean((2, 3))[..., None, None],
        lambda net, h: torch.einsum("nchw,nc->nchw", h.masked_fill(HELD, 0), h.mean((2, 3))),
        lambda net, h: torch.stack([one.masked_fill(HELD, 0) * one.mean((1, 2))[:, None, None] for one in h]),
        lambda net, h: h.masked_fill(HELD, 0).permute(2, 3, 0, 1).mul(h.mean((2, 3))).permute(2, 3, 0, 1),
    ],
    "largest in a window": [
        lambda net, h: F.max_pool2d(h, 2),
        lambda net, h: F.adaptive_max_pool2d(h, 4),
    ],
}


class Network(nn.Module):
    def __init__(self, spelling: Spelling) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.spelling = nn.Conv2d(3, 4, 3, padding=1), nn.LazyConv2d(6, 3, padding=1), spelling
        self.register_buffer("kernel", torch.randn(6, 4, 2, 2))
        self.register_buffer("bias", torch.randn(6))
        self.register_buffer("gate", torch.randn(4, 4))

    def attend(self, h: Tensor, without: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        tokens = h.flatten(2).mT
        own = torch.eye(tokens.shape[1], dtype=torch.bool)
        return without(tokens @ tokens.mT, own).softmax(-1) @ tokens

    def forward(self, x: Tensor) -> Tensor:
        h = self.spelling(self, self.first(x).relu())
        return (self.last(h) if h.dim() == 4 else h).flatten(1)


def _answers(spellings: list[Spelling], rule: str, tau: float) -> list[Tensor]:
    found = []
    for spelling in spellings:
        model = Network(spelling).double().eval()
        with torch.no_grad():
            model(X)
            torch.manual_seed(2)
            for parameter in model.last.parameters() if not isinstance(model.last, nn.LazyConv2d) else ():
                parameter.copy_(torch.randn_like(parameter))
            found.append(ADForward(model, rule, tau=tau)(X, mask=MASK))
    return found


@pytest.mark.parametrize("tau", [0, 0.3, 0.6])
@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("name", [*SPELLINGS, *ZERO_BORDERS])
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    if name in ZERO_BORDERS and PRESETS[rule].border == "mean":
        pytest.skip("windows that are spelled out read zeros")
    if name == "slid" and PRESETS[rule].growth == "none":
        pytest.skip("slices do not say which position a window covers")
    first, *others = _answers(SPELLINGS.get(name) or ZERO_BORDERS[name], rule, tau)
    for i, other in enumerate(others, start=1):
        torch.testing.assert_close(other, first, msg=lambda message, i=i: f"spelling {i}: {message}")
    assert first.abs().sum() > 0 or tau


@pytest.mark.parametrize("rule", PRESETS)
@torch.no_grad()
def test_a_sample_beside_one_of_which_everything_is_off(rule: str) -> None:
    """What is constant in a map stays so where a gate multiplies it: no feature, whatever the other samples are."""

    def gated(net: Network, h: Tensor) -> Tensor:
        return F.max_pool2d(h.masked_fill(HELD, 0) * h.mean((2, 3), keepdim=True), 2).flatten(1)

    model, mask = Network(gated).double().eval(), MASK.clone()
    mask[0] = False
    ad = ADForward(model, rule, tau=0.6)
    torch.testing.assert_close(ad(X, mask=mask)[1:], ad(X[1:], mask=mask[1:]))
