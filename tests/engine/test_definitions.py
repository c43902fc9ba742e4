"""Boxes of masks that are made of others, as arithmetic: for masks whose values are on a GPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad._engine.crop import Box
from captum_ad._engine.definitions import Taps, Windows
from captum_ad._engine.masks import PositionMask


@given(
    inputs=st.integers(1, 12), stride=st.integers(1, 4), gap=st.integers(1, 3), kernel=st.integers(1, 4),
    before=st.integers(0, 4), ends=st.tuples(st.integers(0, 11), st.integers(1, 12)), outputs=st.integers(1, 8),
)  # fmt: skip
def test_box_of_windows(
    inputs: int, stride: int, gap: int, kernel: int, before: int, ends: tuple[int, int], outputs: int
) -> None:
    """It holds every window that reads something in the box, and where it is restricted, it is not empty."""
    start, end = min(ends[0], inputs - 1), min(ends[1], inputs)
    if start >= end:
        start, end = 0, inputs
    taps = Taps(outputs, stride, [gap * i - before for i in range(kernel)])
    matrix = taps.matrix(inputs, torch.device("cpu"))
    windows = Windows([matrix], [matrix], [taps], [taps])
    reads = matrix[:, start:end].any(1).nonzero().flatten().tolist()
    sides = windows.box_of(Box({2: (start, end)}), 3).sides
    low, high = sides.get(2, (0, outputs))
    assert low < high
    assert all(low <= output < high for output in reads)


def test_channels_stay_where_they_are() -> None:
    windows = Windows([torch.eye(5)], [torch.eye(5)], [Taps(5, 1, [-1, 0, 1])], [Taps(5, 1, [0])])
    assert windows.box_of(Box({1: (2, 3), 2: (1, 2)}), 3).sides == {1: (2, 3), 2: (0, 3)}
    assert windows.box_of(Box({1: (2, 3)}), 3).sides == {1: (2, 3)}


def test_the_box_around_two_boxes_restricts_what_both_restrict() -> None:
    assert Box({1: (0, 1), 2: (1, 3)}).around(Box({2: (2, 5), 3: (0, 2)})) == Box({2: (1, 5)})


@pytest.mark.parametrize("known", [True, False])
def test_put_in_box(known: bool) -> None:
    """Of masks on another device, if the boxes of all that they are made of are known."""
    elsewhere = torch.ones(1, 1, 9, device="meta", dtype=torch.bool)
    one, other = PositionMask(elsewhere), PositionMask(elsewhere)
    vars(one)["box"] = Box({2: (1, 3)})
    if known:
        vars(other)["box"] = Box({2: (2, 5)})
    found = PositionMask(elsewhere).put_in_box([one, other])
    assert vars(found).get("box") == (Box({2: (1, 5)}) if known else None)
    here = PositionMask(torch.ones(1, 1, 9, dtype=torch.bool)).put_in_box([one, one])
    assert here.box == Box({})
