"""What broadcasts to a tensor is reshaped as the tensor is."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad.engine.reshapes import reshaped
from captum_ad.engine.views import overlaps_itself


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
