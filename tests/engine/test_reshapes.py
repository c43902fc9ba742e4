"""What broadcasts to a tensor is reshaped as the tensor is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward
from captum_ad._engine.axes import Atom, Axes, Role, axis
from captum_ad._engine.reshapes import reshaped, reshaped_axes
from captum_ad._engine.views import overlaps_itself


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes of as many elements."""
    old = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    new, left = [], math.prod(old)
    while left > 1 and len(new) < 4:
        new.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
        left //= new[-1]
    return old, [*new, left]


@given(reshapes(), st.data())
def test_a_part_is_reshaped_as_if_written_out(shapes: tuple[list[int], list[int]], data: st.DataObject) -> None:
    old, new = shapes
    part = torch.rand([data.draw(st.sampled_from([1, size])) for size in old])
    assert torch.equal(reshaped(part, old, new).expand(new), part.expand(old).reshape(new))


def test_what_can_stay_small_does() -> None:
    part = torch.rand(2, 1, 1, 5)
    assert reshaped(part, (2, 3, 4, 5), (2, 12, 5)).shape == (2, 1, 5)
    assert reshaped(part, (2, 3, 4, 5), (2, 2, 6, 5, 1)).shape == (2, 1, 1, 5, 1)
    assert reshaped(part, (2, 3, 4, 5), (6, 4, 5)).shape == (6, 1, 5)
    assert reshaped(torch.rand(2, 1), (2, 0), (0, 4)).shape == (0, 4)


def test_overlaps() -> None:
    x = torch.randn(2, 6)
    assert overlaps_itself(x.unfold(1, 3, 1))
    assert overlaps_itself(x[:, :1].expand(2, 3))
    assert not any(map(overlaps_itself, (x, x.T, x[:, ::2], x.unfold(1, 3, 3), x[0], x[:1, :1])))


@pytest.mark.parametrize("shape", [(-1, 5, 6), (-1, 30), (-1, 2, 2, 30), (-1,)])
def test_a_batch_of_one_is_folded_as_one_of_several_and_unfolded_again(shape: tuple[int, ...]) -> None:
    roles = (Role.SAMPLE, Role.POSITION, Role.POSITION, Role.CHANNEL)

    def of(samples: int) -> tuple[Axes, Axes]:
        axes = Axes(tuple(axis(role, size) for role, size in zip(roles, (samples, 4, 5, 6))))
        folded = reshaped_axes(axes, (samples * 120 // math.prod(shape[1:]), *shape[1:]))
        assert reshaped_axes(folded, axes.shape) == axes
        return axes, folded

    assert of(1)[1].dims[0][0] == Atom(Role.SAMPLE, 1)
    for alone, several in zip(of(1), of(7)):
        named = [[atom.role for atom in one] for one in alone.dims]
        assert named == [[atom.role for atom in one] for one in several.dims]


def test_the_only_sample_is_where_several_would_be() -> None:
    for samples in (1, 2):
        one, tokens, channels = axis(Role.SAMPLE, samples), axis(Role.POSITION, 6), axis(Role.CHANNEL, 5)
        folded = reshaped_axes(Axes((tokens, one, channels)), (30 * samples,))
        assert folded.dims == ((*tokens, *one, *channels),)
        assert reshaped_axes(folded, (6, samples, 5)).dims == (tokens, one, channels)


class Divided(nn.Module):
    """Attention over the frames of each place, then over the places of each frame beside its copy of a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(3, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.frames, self.places = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, _, t, h, w = x.shape
        tokens = torch.cat([self.token.expand(n, -1, -1), self.embed(x.permute(0, 3, 4, 2, 1)).flatten(1, 3)], 1)
        first, y = tokens[:, :1], tokens[:, 1:].reshape(n * h * w, t, 8)
        y = tokens[:, 1:] + self.frames(y, y, y)[0].reshape(n, h * w * t, 8)
        y = y.reshape(n, h * w, t, 8).transpose(1, 2).reshape(n * t, h * w, 8)
        y = torch.cat([tokens[:, 0][:, None].repeat(1, t, 1).reshape(n * t, 1, 8), y], 1)
        y = self.places(y, y, y)[0]
        token = y[:, 0].reshape(n, t, 8).mean(1, keepdim=True)
        y = y[:, 1:].reshape(n, t, h * w, 8).transpose(1, 2).reshape(n, h * w * t, 8)
        return self.head((torch.cat([first, tokens[:, 1:]], 1) + torch.cat([token, y], 1))[:, 0])


@pytest.mark.parametrize("rule", PRESETS)
def test_a_video_alone_gives_what_it_gives_in_a_batch(rule: str) -> None:
    torch.manual_seed(0)
    model, x = Divided().eval(), torch.rand(2, 3, 4, 2, 3)
    mask = torch.rand(2, 4, 2, 3) > 0.4
    ad = ADForward(model, rule)
    with torch.no_grad():
        together = ad(x, mask=mask)
        for i in range(2):
            torch.testing.assert_close(ad(x[i : i + 1], mask=mask[i : i + 1]), together[i : i + 1])
