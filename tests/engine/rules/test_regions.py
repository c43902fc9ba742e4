"""Boxes and deformed windows: what is read is found out by what a single position changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad import ADForward, MaskRule, UnsupportedOperationError
from tests.engine.rules.spelled import (
    CHANNELS,
    HEIGHT,
    SAMPLES,
    WIDTH,
    Model,
    assert_monotone,
    both,
    every_preset,
    features,
    masks,
    run,
)
from tests.oracle import Knobs

ops = pytest.importorskip("torchvision.ops")
generator = torch.Generator().manual_seed(3)
BOXES = torch.tensor([[0, 1.0, 0.5, 6.2, 4.0], [1, -1.0, 2.0, 3.0, 9.0], [1, 2.25, 1.0, 2.75, 1.5]]).double()
WEIGHT = torch.randn(5, CHANNELS, 3, 3, generator=generator).double()
POINT = torch.randn(5, CHANNELS, 1, 1, generator=generator).double()
SHIFTS = (torch.randn(SAMPLES, 2, HEIGHT, WIDTH, generator=generator) * 1.5).double()


def impulses() -> Tensor:
    """A map for each position, which is one there."""
    return torch.eye(HEIGHT * WIDTH).reshape(HEIGHT * WIDTH, 1, HEIGHT, WIDTH).double()


def alive(x: Tensor, reads: Tensor, knobs: Knobs) -> Tensor:
    """Where more than τ of what is read is kept; `reads`: (outputs, positions), `x`: (channels, positions)."""
    kept, count = (x[:, None] & reads).sum(2).tolist(), reads.sum(1).tolist()
    return torch.tensor([[n > 0 and knobs.exceeded_by(k, n) for k, n in zip(row, count)] for row in kept])


@every_preset
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [-1, 2])
@torch.no_grad()
def test_boxes(ratio: int, aligned: bool, rule: str, tau: float) -> None:
    def align(x: Tensor) -> Tensor:
        return ops.roi_align(x, BOXES, (2, 3), 0.9, ratio, aligned)

    knobs = Knobs(MaskRule.named(rule), tau)
    for mask in masks().values():
        ((values, dead),) = both(Model(lambda x: x), rule, tau, features(), mask)
        ((found, missing),) = both(Model(align), rule, tau, features(), mask)
        for number, box in enumerate(BOXES):
            first = torch.cat([torch.zeros(1).double(), box[1:]])[None]
            each = [ops.roi_align(i[None], first, (2, 3), 0.9, ratio, aligned) for i in impulses()]
            one = torch.cat(each).flatten(1).T
            sample = int(box[0])
            expected = alive(~dead[sample].flatten(1), one > 1e-9, knobs).reshape(CHANNELS, 2, 3)
            nothing = (one <= 1e-9).all(1).reshape(2, 3)
            assert torch.equal(missing[number], ~expected & ~nothing)
            if knobs.rule.border == "zero" and knobs.rule.average == "all":
                plain = (values[sample].flatten(1) @ one.T).reshape(CHANNELS, 2, 3)
                torch.testing.assert_close(found[number], plain.where(expected, 0))


@every_preset
@torch.no_grad()
def test_an_average_of_what_is_active(rule: str, tau: float) -> None:
    """Of a map of ones the average is one, wherever something is active."""
    active = f"average=active,growth={MaskRule.named(rule).growth}"
    for mask in masks().values():
        ((found, missing),) = both(
            Model(lambda x: ops.roi_align(x * 0 + 1, BOXES[:2], 2)), active, tau, features(), mask
        )
        inside = ops.roi_align(torch.ones(SAMPLES, CHANNELS, HEIGHT, WIDTH).double(), BOXES[:2], 2)
        torch.testing.assert_close(found, inside.where(~missing, 0))


@every_preset
@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2, "padding": 2}, {"dilation": 2}])
@torch.no_grad()
def test_without_offsets_it_is_a_convolution(settings: dict[str, int], rule: str, tau: float) -> None:
    size = F.conv2d(features(), WEIGHT[:, :3], **settings).shape[2:]
    zeros = torch.zeros(SAMPLES, 18, *size).double()
    for mask in masks().values():
        deformed, plain = (
            both(Model(function), rule, tau, features(), mask)
            for function in (
                lambda x: ops.deform_conv2d(x, zeros, WEIGHT, **settings),
                lambda x: F.conv2d(x, WEIGHT, **settings),
            )
        )
        for one, other in zip(deformed[0], plain[0]):
            torch.testing.assert_close(one, other)


@every_preset
@torch.no_grad()
def test_offsets(rule: str, tau: float) -> None:
    knobs = Knobs(MaskRule.named(rule), tau)
    for mask in masks().values():
        ((_, dead),) = both(Model(lambda x: x), rule, tau, features(), mask)
        ((_, missing),) = both(Model(lambda x: ops.deform_conv2d(x, SHIFTS, POINT)), rule, tau, features(), mask)
        for n in range(SAMPLES):
            one = torch.cat([ops.deform_conv2d(i[None], SHIFTS[n : n + 1], POINT[:1, :1]) for i in impulses()])
            reads = (one != 0).flatten(1).T
            expected = alive((~dead[n]).any(0).flatten()[None], reads, knobs)
            if knobs.rule.growth == "none":
                expected &= (~dead[n]).any(0).flatten()
            nothing = ~reads.any(1)
            assert torch.equal(missing[n], (~expected & ~nothing).reshape(1, HEIGHT, WIDTH).expand(5, -1, -1))


def shifts(x: Tensor) -> Tensor:
    return 0.3 * x[:, :2]


def modulation(x: Tensor) -> Tensor:
    return x[:, :1].sigmoid()


@every_preset
@torch.no_grad()
def test_offsets_and_modulations_of_features(rule: str, tau: float) -> None:
    """Where they are missing the result is, and where windows at rest see nothing; else it is that of constants."""

    def at(offset: Tensor, factor: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: ops.deform_conv2d(x, offset, POINT, mask=factor)

    for mask in masks().values():
        (offset, lost), (factor, none) = both(Model(lambda x: (shifts(x), modulation(x))), rule, tau, features(), mask)
        ((values, dead),) = both(Model(at(offset, factor)), rule, tau, features(), mask)
        follows = Model(lambda x: ops.deform_conv2d(x, shifts(x), POINT, mask=modulation(x)))
        ((found, missing),) = both(follows, rule, tau, features(), mask)
        ((_, at_rest),) = both(Model(lambda x: F.conv2d(x, POINT)), rule, tau, features(), mask)
        assert torch.equal(missing, at_rest | lost.any(1, keepdim=True) | none)
        torch.testing.assert_close(found.masked_fill(dead, 0), values.masked_fill(missing, 0))


@every_preset
@torch.no_grad()
def test_masks_are_monotone(rule: str, tau: float) -> None:
    """However far offsets go that are made of what is kept."""
    model = Model(lambda x: ops.deform_conv2d(x, 4 * F.conv2d(x, WEIGHT[:2], padding=1), POINT, mask=modulation(x)))
    assert_monotone(model, rule, tau)


@torch.no_grad()
def test_missing_means_missing() -> None:
    for function in (
        lambda x: ops.roi_align(x, BOXES, 2),
        lambda x: ops.deform_conv2d(x, shifts(x), POINT, mask=modulation(x)),
    ):
        for mask in masks().values():
            ad = ADForward(Model(function).eval())
            junk = torch.where(mask, features(), math.nan)
            assert torch.equal(ad(junk, mask=mask), ad(features(), mask=mask))


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "boxes of features": lambda x: ops.roi_align(x, F.linear(x.mean((2, 3)), torch.ones(5, 4).double()).abs(), 2),
    "boxes that miss something": lambda x: ops.roi_align(x, torch.cat([BOXES[:, :1], x[0, 0, :3, :4].abs()], 1), 2),
    "weights that miss something": lambda x: ops.deform_conv2d(x, SHIFTS, x[:1, :, :1, 7:]),
    "positions that are chosen": lambda x: x[0, 0, ops.nms(x[0, 0, :, 4:], x[0, 0, :, 0], 0.5)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        run(REFUSED[name], masks()["half"])
