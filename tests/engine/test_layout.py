"""Masks and samples are where a brute-force walk finds them, after reshapes, permutations and views."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from captum_ad.engine.layout import (
    Samples,
    Views,
    channels_after_reshape,
    overlaps_itself,
    permutation,
    reshaped,
    samples_after_reshape,
)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes of as many elements."""
    old = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    new, left = [], math.prod(old)
    while left > 1 and len(new) < 4:
        new.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
        left //= new[-1]
    return old, [*new, left]


def sample_numbers(samples: Samples, shape: list[int]) -> Tensor:
    """The sample of each element."""
    index = torch.arange(shape[samples.dim]) // samples.inner % samples.size
    return index.reshape([-1 if d == samples.dim else 1 for d in range(len(shape))]).expand(shape)


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


@given(reshapes(), st.data())
def test_channels_are_followed_through_reshapes(shapes: tuple[list[int], list[int]], data: st.DataObject) -> None:
    """Along a dimension of channels the position stays what it is, and along others it does not."""
    old, new = shapes
    channels = frozenset(data.draw(st.sets(st.integers(0, len(old) - 1))))
    places = [d for d in range(len(old)) if d not in channels]
    numbers = torch.arange(math.prod(old[d] for d in places)).reshape(
        [1 if d in channels else n for d, n in enumerate(old)]
    )
    after = numbers.expand(old).reshape(new)
    found = channels_after_reshape(channels, old, new)
    if found is None:
        return
    for dim, size in enumerate(new):
        if size > 1:
            assert (dim in found) == bool((after == after.narrow(dim, 0, 1)).all())


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ((2, 5, 12), (2, 5, 3, 2, 2), {2, 3, 4}),  # queries, keys, values; heads; what a head has
        ((2, 12, 4, 5), (6, 4, 20), {1}),  # heads beside the samples
        ((2, 3, 4, 5), (2, 3, 20), {1}),
    ],
)
def test_channels_of_heads(old: tuple[int, ...], new: tuple[int, ...], found: set[int]) -> None:
    assert channels_after_reshape(frozenset({2} if len(old) == 3 else {1}), old, new) == found


def test_channels_in_views() -> None:
    def found(*call: Any) -> frozenset[int] | None:
        return Views(*call).channels(frozenset({1}))

    assert found(Tensor.__getitem__, (2, 3, 4, 5), (slice(None), slice(None), slice(None, None, 2))) == {1}
    assert found(Tensor.__getitem__, (2, 3, 4, 5), (slice(None), 0)) == frozenset()
    assert found(Tensor.__getitem__, (2, 3, 4, 5), (slice(None), slice(0, 2), 1)) == {1}
    assert found(Tensor.chunk, (2, 3, 4, 5), 3, 1) == {1}
    assert found(Tensor.unbind, (2, 3, 4, 5), 2) == {1}


def test_overlaps() -> None:
    x = torch.randn(2, 6)
    assert overlaps_itself(x.unfold(1, 3, 1))
    assert overlaps_itself(x[:, :1].expand(2, 3))
    assert not any(map(overlaps_itself, (x, x.T, x[:, ::2], x.unfold(1, 3, 3), x[0], x[:1, :1])))


@given(reshapes(), st.data())
def test_samples_are_followed_through_reshapes(shapes: tuple[list[int], list[int]], data: st.DataObject) -> None:
    old, new = shapes
    dim = data.draw(st.integers(0, len(old) - 1))
    size = data.draw(st.sampled_from([d for d in range(1, old[dim] + 1) if old[dim] % d == 0]))
    inner = data.draw(st.sampled_from([d for d in range(1, old[dim] // size + 1) if old[dim] // size % d == 0]))
    samples = Samples(dim, inner, size)
    found = samples_after_reshape(samples, old, new)
    numbers = sample_numbers(samples, old).reshape(new)
    if found is not None:
        assert torch.equal(sample_numbers(found, new), numbers)
    elif size > 1:
        for d, length in enumerate(new):
            for inner in (i for i in range(1, length + 1) if length % (size * i) == 0):
                there = Samples(d, inner, size)
                assert not torch.equal(sample_numbers(there, new), numbers), f"missed {there}"


@pytest.mark.parametrize("size", [1, 2, 5])
def test_windows_merged_into_the_batch_and_back(size: int) -> None:
    merged = samples_after_reshape(Samples(0, 1, size), (size, 4, 9, 8), (size * 4, 9, 8))
    assert merged == Samples(0, 4, size)
    assert not merged.alone_in((size * 4, 9, 8))
    back = samples_after_reshape(merged, (size * 4, 9, 8), (size, 2, 2, 9, 8))
    assert back == Samples(0, 1, size)
    assert back.alone_in((size, 2, 2, 9, 8))


PERMUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "permute": lambda x: x.permute(2, 0, 3, 1),
    "transpose": lambda x: x.transpose(1, -1),
    "movedim": lambda x: x.movedim((0, 1), (2, 3)),
    "mT": lambda x: x.mT,
}


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_permutations(name: str) -> None:
    op, x = PERMUTATIONS[name], torch.rand(3, 2, 4, 2)
    assert torch.equal(op(x), x.permute(permutation(op, 4)))


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], int | None]] = {
    "narrow": (lambda x: x.narrow(2, 1, 2), 0),
    "of another dimension": (lambda x: x[:, 0], 0),
    "a new dimension": (lambda x: x[None, ..., ::2], 1),
    "one sample": (lambda x: x[0], None),
    "every other sample": (lambda x: x[::2], None),
    "expanded": (lambda x: x.expand(5, 3, 2, 4, 2), 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str) -> None:
    op, dim = VIEWS[name]
    found = Views(op, (3, 2, 4, 2)).samples(Samples(0, 1, 3))
    assert found == (None if dim is None else Samples(dim, 1, 3))


def test_dimensions_picked_from() -> None:
    def picked(op: Callable[[Tensor], object]) -> list[int]:
        return Views(op, (3, 2, 4, 2)).picked

    assert picked(lambda x: x[:, 0]) == [1]
    assert picked(lambda x: x[..., -1]) == [3]
    assert picked(lambda x: x.unbind(2)) == [2]
    assert picked(lambda x: x[:, :1]) == picked(lambda x: x.chunk(2, 2)) == picked(lambda x: x[:, None]) == []


def test_several_views() -> None:
    samples = Samples(1, 1, 2)
    assert Views(torch.unbind, (3, 2, 4)).samples(samples) == [Samples(0, 1, 2)] * 3
    assert Views(torch.chunk, (3, 2, 4), 2, 2).samples(samples) == [samples] * 2
    assert Views(torch.chunk, (3, 2, 4), 2, 1).samples(samples) == [None] * 2
