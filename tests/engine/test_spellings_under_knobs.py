"""Networks in several spellings give the same answer under every preset and every τ."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, MaskRule, UnsupportedOperationError
from tests.engine.spelled_windows import ZERO_BORDERS, Spelling
from tests.networks import seed

SIZE = 8
X = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()
MASK = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(5)) > 0.3
THREE = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(3)).double()
FROM_ALL = torch.randn(5, 4 * SIZE * SIZE, generator=torch.Generator().manual_seed(2)).double()
MASK[0, :, :4] = MASK[1, 5:] = False
HELD = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1)) > 0.5


def plus_its_mean(h: Tensor) -> Tensor:
    return h + h.mean((2, 3), keepdim=True)


def four_maps(h: Tensor) -> Tensor:
    return torch.stack([h, h.roll(1, 3), h.sin(), 2 * h], 1)


def cells(h: Tensor) -> list[Tensor]:
    return [h[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]


def summed(net: nn.Module, h: Tensor) -> Tensor:
    """A 1×1 convolution."""
    return F.conv2d(h, net.kernel.reshape(6, 16, 1, 1)[:, : h.shape[1]])


def both_sides(h: Tensor) -> Tensor:
    return torch.cat([h, F.max_pool2d(h, 3, 1, 1)], 1)


SPELLINGS: dict[str, list[Spelling]] = {
    "mean of two of four maps": [
        lambda net, h: four_maps(h)[:, :2].mean(1),
        lambda net, h: four_maps(h).flatten(1, 2).chunk(2, 1)[0].unflatten(1, (2, 4)).mean(1),
        lambda net, h: four_maps(h).flatten(1, 2)[:, :8].unflatten(1, (2, 4)).mean(1),
        lambda net, h: four_maps(h).flatten(1, 2).narrow(1, 0, 8).reshape(-1, 2, 4, SIZE, SIZE).mean(1),
    ],
    "two of four slices as channels": [
        lambda net, h: summed(net, torch.cat(cells(h)[:2], 1)),
        lambda net, h: summed(net, torch.stack(cells(h)[:2], 1).flatten(1, 2)),
        lambda net, h: summed(net, torch.stack(cells(h), 1)[:, :2].flatten(1, 2)),
        lambda net, h: summed(net, torch.stack(cells(h), 1)[:, [0, 1]].flatten(1, 2)),
        lambda net, h: summed(net, torch.stack(cells(h), 1).flatten(1, 2).chunk(2, 1)[0]),
        lambda net, h: summed(net, torch.stack(cells(h), 1).roll(1, 1)[:, 1:3].flatten(1, 2)),
    ],
    "dilated": [
        lambda net, h: F.conv2d(h, THREE, padding=6, dilation=3),
        lambda net, h: F.conv_transpose2d(h, THREE.flip(2, 3).transpose(0, 1), dilation=3),
    ],
    "a vector of all positions": [
        lambda net, h: F.linear(h.flatten(1), FROM_ALL),
        lambda net, h: F.conv2d(h.flatten(1)[..., None, None], FROM_ALL[..., None, None]).flatten(1),
        lambda net, h: F.conv1d(h.flatten(1).unsqueeze(-1), FROM_ALL[..., None]).squeeze(-1),
    ],
    "copies of channels": [
        lambda net, h: summed(net, torch.cat([both_sides(h)] * 2, 1)[:, :10]),
        lambda net, h: summed(net, both_sides(h).repeat(1, 2, 1, 1)[:, :10]),
        lambda net, h: summed(net, both_sides(h)[:, torch.arange(10) % 8]),
    ],
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
        seed(1)
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


class Alone(Network):
    """The spelled operation, on the input itself."""

    def forward(self, x: Tensor) -> Tensor:
        return self.spelling(self, torch.cat([x, x[:, :1]], 1).relu()).flatten(1)


def _rule_of(name: str, rule: MaskRule) -> MaskRule:
    """The rule that windows follow which are spelled out: border and, where slices overlap, growth are not asked."""
    if name not in ZERO_BORDERS:
        return rule
    return replace(rule, border="zero", growth="window" if name == "slid" else rule.growth)


def _answers(spellings: list[Spelling], rule: str, tau: float) -> list[Tensor]:
    found = []
    for spelling in spellings:
        model = Network(spelling).double().eval()
        with torch.no_grad():
            model(X)
            seed(2)
            for parameter in model.last.parameters() if not isinstance(model.last, nn.LazyConv2d) else ():
                parameter.copy_(torch.randn_like(parameter))
            found.append(ADForward(model, rule, tau=tau)(X, mask=MASK))
    return found


@pytest.mark.parametrize("tau", [0, 0.3, 0.6])
@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize("name", ZERO_BORDERS)
@torch.no_grad()
def test_what_windows_ignore_that_are_spelled_out(name: str, rule: str, tau: float) -> None:
    window, *spelled = (Alone(spelling).double().eval() for spelling in ZERO_BORDERS[name])
    expected = ADForward(window, _rule_of(name, PRESETS[rule]), tau=tau)(X, mask=MASK)
    for one in spelled:
        torch.testing.assert_close(ADForward(one, rule, tau=tau)(X, mask=MASK), expected)
    assert expected.any()


@pytest.mark.parametrize("tau", [0, 0.3, 0.6])
@pytest.mark.parametrize(
    ("name", "rule"),
    [(n, r) for n in (*SPELLINGS, *ZERO_BORDERS) for r, preset in PRESETS.items() if _rule_of(n, preset) == preset],
)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
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


@pytest.mark.parametrize("name", ["conv2d", "linear"])
@torch.no_grad()
def test_positions_and_channels_that_were_shuffled(name: str) -> None:
    """What they are is lost. With τ = 0 that does not matter; else it is refused."""
    weight = torch.randn(2, 16, generator=torch.Generator().manual_seed(2)).double()

    def mixed(net: Network, h: Tensor) -> Tensor:
        shuffled = F.pixel_unshuffle(h, 2)[:, torch.arange(15, -1, -1)]
        if name == "conv2d":
            return F.conv2d(shuffled, weight[..., None, None])
        return F.linear(shuffled.movedim(1, -1), weight).movedim(-1, 1)

    def in_order(net: Network, h: Tensor) -> Tensor:
        return F.conv2d(F.pixel_unshuffle(h, 2), weight.flip(1)[..., None, None])

    found, expected = (ADForward(Network(way).double().eval())(X, mask=MASK) for way in (mixed, in_order))
    torch.testing.assert_close(found, expected)
    with pytest.raises(UnsupportedOperationError, match=f"{name}.* may hold positions or channels, and with tau > 0"):
        ADForward(Network(mixed).double().eval(), tau=0.3)(X, mask=MASK)
