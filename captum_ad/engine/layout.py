"""Where samples and positions lie in a tensor, and where a reshape or a permutation moves them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """Where the samples of a batch are: sample i has the indices j of dimension `dim` with i = j // inner % size.

    What is not the sample in that dimension is positions, e.g. windows that were merged into the batch.
    """

    dim: int
    inner: int
    size: int

    def alone_in(self, shape: Sequence[int]) -> bool:
        """Whether the dimension holds the samples and nothing else."""
        return self.inner == 1 and shape[self.dim] == self.size


def reshaped(part: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """What broadcasts to `old`, after a reshape from `old` to `new`; dimensions of size 1 stay so if they can."""
    before, after = list(part.shape), list(new)
    for ins, outs in _groups(old, new):
        if all(part.shape[dim] == 1 for dim in ins):
            for dim in outs:
                after[dim] = 1
        else:
            for dim in ins:
                before[dim] = old[dim]
    return part.expand(before).reshape(after)


def samples_after_reshape(samples: Samples, old: Sequence[int], new: Sequence[int]) -> Samples | None:
    """Where the samples are after a reshape; None: spread over several dimensions."""
    found = None
    for ins, outs in _groups(old, new):
        if samples.dim not in ins:
            continue
        step = samples.inner * math.prod(old[dim] for dim in ins if dim > samples.dim)
        inner = 1
        for dim in reversed(outs):
            if step % inner == 0 and inner * new[dim] % (step * samples.size) == 0:
                found = Samples(dim, step // inner, samples.size)
                if found.alone_in(new):  # one sample is everywhere: prefer a dimension of its own
                    return found
            inner *= new[dim]
    if samples.size == 1 and len(new) and new[0] == 1:
        return Samples(0, 1, 1)
    return found


def channels_after_reshape(channels: frozenset[int], old: Sequence[int], new: Sequence[int]) -> frozenset[int] | None:
    """Which dimensions are of channels after a reshape; None: some are merged with positions behind them."""
    found: set[int] = set()
    for ins, outs in _groups(old, new):
        ours = [dim for dim in ins if dim in channels and old[dim] > 1]
        last = [dim for dim in ins if old[dim] > 1][-len(ours) :] if ours else []
        if ours != last:
            return None
        size, inner = math.prod(old[dim] for dim in ours), 1
        for dim in reversed(outs):
            inner *= new[dim]
            if size % inner:
                break
            if new[dim] > 1 or any(d in channels for d in ins):
                found.add(dim)
    return frozenset(found)


def overlaps_itself(x: Tensor) -> bool:
    """Whether two elements of a tensor may be the same memory."""
    reach = 0
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape) if size > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def permutation(op: Callable[..., Tensor], dims: int, *args: Any, **kwargs: Any) -> list[int]:
    """Which dimension each one of the result was, for an operation that makes them change places."""
    probe = torch.empty(list(range(2, 2 + dims)), device="meta")
    return [size - 2 for size in op(probe, *args, **kwargs).shape]


def is_basic(index: Any) -> bool:
    """Whether indexing gives a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


class Views:
    """What an operation that gives views makes of a tensor of a shape: run without memory, with all strides different.

    Parameters
    ----------
    op : callable
        The operation; tensors among its other arguments stand for their shapes.
    shape : sequence of int
        Of the tensor that it is given.
    """

    def __init__(self, op: Callable[..., Any], shape: Sequence[int], *args: Any, **kwargs: Any) -> None:
        args = tuple(torch.empty_like(arg, device="meta") if isinstance(arg, Tensor) else arg for arg in args)
        self.shape = shape
        self.strides = [math.prod(size + 1 for size in shape[dim + 1 :]) for dim in range(len(shape))]
        self.found = op(torch.empty_strided(tuple(shape), self.strides, device="meta"), *args, **kwargs)
        first = [self.found] if isinstance(self.found, Tensor) else self.found[:1]
        self.first: Tensor | None = first[0] if first else None

    def samples(self, samples: Samples) -> Any:
        """Where the samples are in the view, or in each of several; None where there is no such place."""

        def located(view: Tensor) -> Samples | None:
            for dim, (size, stride) in enumerate(zip(view.shape, view.stride())):
                if stride == self.strides[samples.dim] and size == self.shape[samples.dim]:
                    return samples._replace(dim=dim)
            return None

        return located(self.found) if isinstance(self.found, Tensor) else [located(view) for view in self.found]

    def channels(self, channels: frozenset[int]) -> frozenset[int] | None:
        """Which dimensions are of channels in each view; None if that is not clear."""
        if self.first is None:
            return None
        strides = self.first.stride()
        if len(strides) == len(self.shape) and all(s % before == 0 for s, before in zip(strides, self.strides)):
            return channels
        places = [strides.index(stride) if stride in strides else None for stride in self.strides]
        if places.count(None) != len(self.shape) - len(strides):
            return None
        return frozenset(place for dim, place in enumerate(places) if dim in channels and place is not None)

    @property
    def picked(self) -> list[int]:
        """The dimensions of which one index is taken, so that they are gone."""
        if self.first is None or self.first.dim() >= len(self.shape):
            return []
        return [dim for dim, stride in enumerate(self.strides) if stride not in self.first.stride()]


def _groups(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[range, range]]:
    """Runs of dimensions that a reshape turns into one another: the shortest ones with as many elements."""
    if math.prod(old) == 0:
        yield range(len(old)), range(len(new))
        return
    i = j = 0
    while i < len(old) or j < len(new):
        first, onto = i, j
        size = goal = 1
        if i < len(old):
            size, i = old[i], i + 1
        if j < len(new):
            goal, j = new[j], j + 1
        while size != goal:
            if size < goal:
                size, i = size * old[i], i + 1
            else:
                goal, j = goal * new[j], j + 1
        yield range(first, i), range(onto, j)
