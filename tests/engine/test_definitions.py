"""Windows: boxes of what they read, as arithmetic; where they read; whether they cover something."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad._engine.crop import Box
from captum_ad._engine.definitions import Windows
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.positions import Slide
from captum_ad._engine.taps import Taps


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


@given(
    inputs=st.tuples(st.integers(1, 9), st.integers(1, 9)), stride=st.integers(1, 4), gap=st.integers(1, 3),
    kernel=st.integers(1, 4), before=st.integers(0, 4), outputs=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_where_windows_read(
    inputs: tuple[int, int], stride: int, gap: int, kernel: int, before: int, outputs: tuple[int, int], seed: int
) -> None:
    taps = [Taps(size, stride, [gap * i - before for i in range(kernel)]) for size in outputs]
    matrices = [line.matrix(size, torch.device("cpu")) for line, size in zip(taps, inputs)]
    alive = torch.rand(2, 1, *outputs, generator=torch.Generator().manual_seed(seed)) < 0.3
    expected = (matrices[0].T @ alive.float() @ matrices[1]).bool()
    assert torch.equal(Windows(matrices, matrices, taps, taps).read_by(alive), expected)


@pytest.mark.parametrize(("before", "expected"), [(0, True), (1, True), (2, False)])
def test_whether_every_window_covers_a_feature(before: int, expected: bool) -> None:
    """A window of size 3 in a map with a frame of padding that is `before` wide."""
    feature = torch.nn.functional.pad(torch.ones(1, 1, 6, 6), [before] * 4).bool()
    size = feature.shape[-1]
    slide = Slide([size - 2] * 2, [3, 3], [1, 1], [0, 0], [1, 1])
    mask = PositionMask(feature, feature) if before else PositionMask(feature)
    assert slide.windows(feature).cover(mask) is expected
