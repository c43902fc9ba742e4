"""Dimensions are what a tensor of numbers shows them to be, whatever moves, merges or joins them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, PositionMask
from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.axes import Atom, Axes, Role, axis
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.reshapes import reshaped_axes

SHAPE = (2, 4, 6, 3)
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "permute": lambda x: x.permute(*range(1, x.dim()), 0),
    "transpose": lambda x: x.transpose(0, -1),
    "mT": lambda x: x.mT if x.dim() > 1 else x,
    "movedim": lambda x: x.movedim(0, -1),
    "flatten": lambda x: x.flatten(0, 1) if x.dim() > 1 else x,
    "flatten last": lambda x: x.flatten(-2) if x.dim() > 1 else x,
    "all in one": lambda x: x.reshape(-1, 1),
    "split": lambda x: x.unflatten(0, (-1, 2)) if x.shape[0] % 2 == 0 else x,
    "split last": lambda x: x.unflatten(-1, (3, -1)) if x.shape[-1] % 3 == 0 else x,
    "misaligned": lambda x: x.reshape(x.shape[-1], -1, 2) if x.numel() % (2 * x.shape[-1]) == 0 else x,
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x.squeeze(-1) if x.shape[-1] == 1 else x,
    "new": lambda x: x[None, ..., None, :],
    "slice": lambda x: x[..., : max(1, x.shape[-1] // 2)],
    "step": lambda x: x[::2],
    "index": lambda x: x[..., torch.arange(x.shape[-1]).flip(0)],
    "index of an index": lambda x: x[torch.arange(4).reshape(2, 2) % x.shape[0]],
    "picked": lambda x: x[:, 0] if x.dim() > 2 else x,
    "unbind": lambda x: x.unbind(1)[-1] if x.dim() > 2 else x,
    "chunk": lambda x: x.chunk(2, 0)[0],
    "stack": lambda x: torch.stack(x.unbind(0)) if x.shape[0] > 1 else x,
    "cat": lambda x: torch.cat([t[None] for t in x]) if x.shape[0] > 1 else x,
    "cat of halves": lambda x: torch.cat(x.chunk(2, -1)[::-1], -1),
    "repeat": lambda x: x.repeat(2, *[1] * (x.dim() - 1)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, -1),
    "expand": lambda x: x.expand(3, *x.shape),
    "unfold": lambda x: x.unfold(0, 2, 1) if x.shape[0] > 1 else x,
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 0),
    "pixel_unshuffle": lambda x: (
        nn.functional.pixel_unshuffle(x, 2) if x.dim() == 4 and x.shape[2] % 2 == x.shape[3] % 2 == 0 else x
    ),
    "pixel_shuffle": lambda x: nn.functional.pixel_shuffle(x, 2) if x.dim() == 4 and x.shape[1] % 4 == 0 else x,
    "diagonal": lambda x: x.diagonal(0, 1, 2) if x.dim() > 3 else x,
    "summed": lambda x: x + x.flip(-1) * 0,
}


def numbered(shape: tuple[int, ...]) -> dict[Role, Tensor]:
    """Tensors that hold the number of the sample, of the channel, and of the position."""
    n, c = (torch.arange(size).double() for size in shape[:2])
    places = torch.arange(shape[2] * shape[3]).double().reshape(shape[2:])
    return {
        Role.SAMPLE: n[:, None, None, None].expand(shape),
        Role.CHANNEL: c[:, None, None].expand(shape),
        Role.POSITION: places.expand(shape),
    }


def followed(steps: list[str]) -> tuple[Axes | None, Tensor]:
    """What the engine says of the dimensions after these steps."""
    ad = Interpreter(nn.Identity(), MaskRule(), 0.0)
    x = ad.start(torch.rand(SHAPE).double(), PositionMask(torch.rand(2, 1, 6, 3) > 0.3))
    with ad:
        for step in steps:
            x = VIEWS[step](x)
    return ad.axes(x), x


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(sorted(VIEWS)), min_size=1, max_size=6))
def test_what_changes_along_a_dimension_is_among_its_roles(steps: list[str]) -> None:
    axes, out = followed(steps)
    assert axes is not None
    assert axes.shape == out.shape
    for role, numbers in numbered(SHAPE).items():
        for step in steps:
            numbers = VIEWS[step](numbers)
        for dim, one in enumerate(axes.dims):
            changes = bool((numbers != numbers.narrow(dim, 0, 1)).any()) if numbers.shape[dim] else False
            roles = {atom.role for atom in one}
            others = (
                {Role.UNKNOWN, Role.BRANCH} if role is Role.CHANNEL else {Role.UNKNOWN}
            )  # channels are stacked, too
            assert not changes or role in roles or roles & others, (role, dim, one)


@pytest.mark.parametrize("step", sorted(set(VIEWS) - {"misaligned", "diagonal"}))
def test_nothing_is_unknown_that_need_not_be(step: str) -> None:
    axes, _ = followed([step])
    assert axes is not None
    assert all(atom.role is not Role.UNKNOWN for one in axes.dims for atom in one), axes


def test_merged_dimensions_come_apart_again() -> None:
    roles = (Role.SAMPLE, Role.CHANNEL, Role.POSITION, Role.POSITION)
    axes = Axes(tuple(axis(role, size) for role, size in zip(roles, SHAPE)))
    merged = reshaped_axes(axes, (2 * 4, 18))
    assert merged.dims == ((Atom(Role.SAMPLE, 2), Atom(Role.CHANNEL, 4)), axis(Role.POSITION, 18))
    assert reshaped_axes(merged, (2, 2, 2, 6, 3)).dims[0] == axis(Role.SAMPLE, 2)
    assert reshaped_axes(merged, SHAPE) == axes


def test_one_position_of_each_sample() -> None:
    """As CLIP takes the token that ends the text: it is a sample's, and no statistic."""
    ad = Interpreter(nn.Identity(), MaskRule(), 0.0)
    x = ad.start(torch.rand(SHAPE), PositionMask(torch.rand(2, 1, 6, 3) > 0.3))
    with ad:
        token = x.flatten(2).mT[torch.arange(2), torch.tensor([4, 7])]
    axes = ad.axes(token)
    assert axes == Axes((axis(Role.SAMPLE, 2), axis(Role.CHANNEL, 4)), picks=((Role.POSITION, None),))


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean of the batch": lambda x: x - x.mean(0),
    "mean of all": lambda x: x - x.mean(),
    "the first sample": lambda x: x[1:] - x[0],
    "pairs": lambda x: (x[:, None] - x[None]).flatten(0, 1),
    "copies in another order": lambda x: x.repeat(2, 1, 1, 1) + x.repeat_interleave(2, dim=0),
    "a linear map": lambda x: (x.flatten(1).T @ torch.ones(3, 3).double()).T,
}


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_meet_are_refused(name: str) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return MIXED[name](x)

    x, mask = torch.rand(3, 4, 6, 3).double(), torch.rand(6, 3) > 0.5
    with pytest.raises(UnsupportedOperationError, match="mixes the samples"):
        ADForward(Model())(x, mask=mask)


def test_a_vector_of_the_only_sample_is_copied_to_each_window() -> None:
    """As GCViT's global query: its copies are not samples, and mix nothing."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = x.permute(0, 2, 3, 1).flatten(0, 1)
            scaled = rows * x.mean((2, 3))[:, None].repeat_interleave(6, dim=0)
            maps = scaled.reshape(-1, 6, 3, 4).permute(0, 3, 1, 2)
            return maps * maps.mean((2, 3), keepdim=True)

    x, mask = torch.rand(3, 4, 6, 3).double(), torch.rand(3, 1, 6, 3) > 0.5
    ad = ADForward(Model().eval())
    together = ad(x, mask=mask)
    for i in range(3):
        torch.testing.assert_close(ad(x[i : i + 1], mask=mask[i : i + 1]), together[i : i + 1])
