"""What has positions of its own counts where it is; one vector for a whole map or frame does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward
from tests.networks import Apply

Function = Callable[[Tensor], Tensor]

torch.manual_seed(0)
LINE, TOKENS, PLANE = nn.Conv1d(2, 4, 1), nn.Linear(2, 4), nn.Conv2d(1, 1, 1)
ALONG_LINE, ALONG_TOKENS = nn.Conv1d(2, 1, 3, padding=1), nn.Linear(2, 1)

SUMS: dict[str, tuple[Function, Function, tuple[int, ...]]] = {
    "channels first": (LINE, ALONG_LINE, (2, 8)),
    "channels last": (lambda x: TOKENS(x.mT), lambda x: ALONG_TOKENS(x.mT).roll(1, 1), (2, 8)),
    "a row and a column": (lambda x: PLANE(x)[:, :, :1], lambda x: PLANE(x)[:, :, :, :1], (1, 5, 5)),
    "by query and by key": (lambda x: ALONG_TOKENS(x.mT), lambda x: ALONG_TOKENS(x.mT).mT, (2, 8)),
    "a map and its columns": (PLANE, lambda x: x.mean(2, keepdim=True), (1, 4, 5)),
}


def result(function: Function, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The activations that are not zeroed yet, and which of them are active."""
    trace = ADForward(Apply(function).eval(), "paper").trace(x, mask=mask)
    return trace.output, trace.operations[-1].mask


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_map_of_one_channel_has_positions_of_its_own(name: str, swapped: bool) -> None:
    first, second, shape = SUMS[name]
    if swapped:
        first, second = second, first
    x, partly = torch.randn(1, *shape), False
    for kept in range(shape[-1]):
        mask = torch.zeros(shape[1:], dtype=torch.bool)
        mask[..., kept] = True
        terms = [result(function, x, mask) for function in (first, second)]
        out, active = result(lambda x: first(x) + second(x), x, mask)
        expected = terms[0][1] | terms[1][1]
        partly |= bool(expected.any()) and not expected.all()
        assert torch.equal(active.expand_as(out), expected.expand_as(out))
        total = sum(values.where(live, 0) for values, live in terms)
        assert torch.equal(out.where(expected, 0), total.where(expected, 0))
    assert partly


@pytest.mark.parametrize(
    "forward", [lambda y: y + y.mean(2, keepdim=True), lambda y: y.mT + y.mT.mean(1, keepdim=True)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_which_are_channels_is_not_read_off_masks(forward: Function, channels: int) -> None:
    """Larger masks keep more, and a batch is its samples, where a mean along one side is added to a map."""
    torch.manual_seed(0)
    ad = ADForward(Apply(forward).eval(), "paper")
    x, mask = torch.randn(1, channels, 3, 4), torch.zeros(1, channels, 3, 4, dtype=torch.bool)
    mask[0, :, 0, 1:] = True
    for place in [(0, 1, 0), (-1, 2, 0), (-1, 0, 0)]:
        smaller, mask = mask, mask.clone()
        mask[(0, *place)] = True
        alone = [ad(x, mask=m) for m in (smaller, mask)]
        assert bool(((alone[0] == 0) | (alone[1] != 0)).all())
        together = ad(torch.cat([x, x]), mask=torch.cat([smaller, mask]))
        assert torch.equal(together, torch.cat(alone))


def test_products_of_positions_are_maps_like_others() -> None:
    """Unless a softmax is to come: an outer product is the same as a product that broadcasts, beside a map."""
    x, mask = torch.randn(1, 2, 6, 6), torch.zeros(6, 6, dtype=torch.bool)
    mask[1:3, 1:3] = True
    conv = nn.Conv2d(2, 2, 3, padding=1)
    matrix = result(lambda x: conv(x) + x.mean(3, keepdim=True) @ x.mean(2, keepdim=True), x, mask)
    outer = result(lambda x: conv(x) + x.mean(3, keepdim=True) * x.mean(2, keepdim=True), x, mask)
    assert all(map(torch.equal, matrix, outer))
    line, mix = nn.Conv1d(2, 5, 3, padding=1), nn.Conv1d(8, 5, 1)
    _, active = result(lambda x: line(x) + mix(x.mT @ x), torch.randn(1, 2, 8), torch.arange(8) == 2)
    assert active[0, 0].tolist() == [False, True, True, True, False, False, False, False]


FRAME = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)).eval()
GATE = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1), nn.Sigmoid()).eval()
BLOCKS: dict[str, Function] = {
    "sum": lambda y: y + y.mean((2, 3), keepdim=True),
    "gate": lambda y: y * GATE(y.mean((2, 3), keepdim=True)),
    "difference from the mean": lambda y: y.amax((2, 3), keepdim=True) - y,
    "gated twice": lambda y: y + y * GATE(nn.functional.adaptive_avg_pool2d(y, 1)),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_frames_beside_the_samples_are_as_samples(name: str, preset: str) -> None:
    """A network that works on frames one by one gives what it gives to each as an image of its own."""

    def network(frames: Tensor) -> Tensor:
        return FRAME[0](BLOCKS[name](FRAME(frames)).narrow(1, 0, 2)).mean((2, 3))

    x, mask = torch.randn(2, 2, 3, 7, 6), torch.ones(2, 3, 7, 6, dtype=torch.bool)
    mask[0, 1, :, 3:] = mask[1, 0, 2:5] = mask[1, 2] = False
    video = Apply(lambda x: network(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 3))).eval()
    found = ADForward(video, preset)(x, mask=mask)
    alone = ADForward(Apply(network).eval(), preset)(x.transpose(1, 2).flatten(0, 1), mask=mask.flatten(0, 1))
    torch.testing.assert_close(found.flatten(0, 1), alone, rtol=0, atol=1e-6)
