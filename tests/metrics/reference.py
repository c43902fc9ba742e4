"""The metrics once more, from their definitions in plain loops: one mask, one position and one forward at a time.

A set of positions is a Python set of places in row-major order. A *view* is a function from such a
set to what the model says when nothing else is there: (confidence of the target, whether it is the
answer).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

View = Callable[[Iterable[int]], tuple[float, bool]]


def count(x: Tensor) -> int:
    """How many positions an input (1, C, *spatial) has."""
    positions = 1
    for side in x.shape[2:]:
        positions *= side
    return positions


def ranking(attribution: Tensor, positions: int, labels: Tensor | None = None, step: int = 1) -> list[list[int]]:
    """The positions that appear at each step, in exact arithmetic."""
    channels = attribution.reshape(-1, positions).tolist()
    worth = [sum(Fraction(channel[place]) for channel in channels) for place in range(positions)]
    if labels is None:
        units = [[place] for place in range(positions)]
    else:
        label_of = labels.flatten().tolist()
        units = [[place for place in range(positions) if label_of[place] == label] for label in sorted(set(label_of))]
    means = [sum(worth[place] for place in unit) / len(unit) for unit in units]
    order = sorted(range(len(units)), key=lambda unit: -means[unit])  # stable: equal ones stay in order
    return [[place for unit in order[i : i + step] for place in units[unit]] for i in range(0, len(order), step)]


def first(steps: Sequence[Sequence[int]], how_many: int) -> set[int]:
    """What is present after so many steps."""
    return {place for step in steps[:how_many] for place in step}


def as_mask(present: Iterable[int], x: Tensor) -> Tensor:
    """A set of positions as booleans, shape (*spatial)."""
    mask = torch.zeros(count(x), dtype=torch.bool)
    for place in present:
        mask[place] = True
    return mask.reshape(x.shape[2:])


def as_set(mask: Tensor) -> set[int]:
    """Booleans as a set of positions."""
    return {place for place, present in enumerate(mask.flatten().tolist()) if present}


def planted(x: Tensor, present: Iterable[int], behind: Tensor) -> Tensor:
    """The input at these positions, what is behind it at the others."""
    composite = behind.clone().reshape(1, x.shape[1], -1)
    for place in present:
        for channel in range(x.shape[1]):
            composite[0, channel, place] = x.reshape(1, x.shape[1], -1)[0, channel, place]
    return composite.reshape(x.shape)


def said(logits: Tensor, target: int) -> tuple[float, bool]:
    """Softmax of one output by hand, and whether the target's is the largest."""
    values = logits[0].tolist()
    powers = [math.exp(value - max(values)) for value in values]
    confidences = [power / sum(powers) for power in powers]
    others = [confidence for k, confidence in enumerate(confidences) if k != target]
    return confidences[target], confidences[target] > max(others)


def view_painted(model: nn.Module, x: Tensor, paint: Tensor, target: int) -> View:
    """A model's view where missing positions are painted with `paint`, of the input's shape."""

    def view(present: Iterable[int]) -> tuple[float, bool]:
        with torch.no_grad():
            return said(model(planted(x, present, paint)), target)

    return view


def view_masked(forward: nn.Module, x: Tensor, target: int) -> View:
    """The view of a forward that takes masks."""

    def view(present: Iterable[int]) -> tuple[float, bool]:
        with torch.no_grad():
            return said(forward(x, mask=as_mask(present, x)), target)

    return view


def suffices(view: View, present: Iterable[int], gamma: float, original: float) -> bool:
    """Definition 1: the class is kept, at a share γ of the original confidence at least."""
    confidence, kept = view(present)
    return kept and confidence >= gamma * original


def sufficient(view: View, steps: Sequence[Sequence[int]], gamma: float) -> set[int] | None:
    """The shortest sufficient prefix."""
    original, _ = view(first(steps, len(steps)))
    for how_many in range(len(steps) + 1):
        if suffices(view, first(steps, how_many), gamma, original):
            return first(steps, how_many)
    return None


def minimal(view: View, steps: Sequence[Sequence[int]], gamma: float) -> set[int] | None:
    """Of the shortest sufficient prefix, what is left when steps go one at a time, the lowest first, until none can."""
    original, _ = view(first(steps, len(steps)))
    present = sufficient(view, steps, gamma)
    if present is None:
        return None
    inside = [step for step in steps if step and step[0] in present]
    while True:
        before = len(inside)
        for step in list(reversed(inside)):
            rest = {place for other in inside if other is not step for place in other}
            if suffices(view, rest, gamma, original):
                inside = [other for other in inside if other is not step]
        if len(inside) == before:
            return {place for step in inside for place in step}


def insertion(view: View, steps: Sequence[Sequence[int]]) -> list[tuple[float, bool]]:
    """What the view is of while the best positions appear."""
    return [view(first(steps, how_many)) for how_many in range(len(steps) + 1)]


def deletion(view: View, steps: Sequence[Sequence[int]]) -> list[tuple[float, bool]]:
    """What it is of while they disappear."""
    everything = first(steps, len(steps))
    return [view(everything - first(steps, how_many)) for how_many in range(len(steps) + 1)]


def sizes(steps: Sequence[Sequence[int]]) -> list[float]:
    """Share of the positions after 0, 1, 2 … steps."""
    total = len(first(steps, len(steps)))
    return [len(first(steps, how_many)) / total for how_many in range(len(steps) + 1)]


def rho(
    model: nn.Module, x: Tensor, present: Iterable[int], backgrounds: Iterable[Tensor], target: int
) -> tuple[float, float, list[bool]]:
    """Definition 2: share of the backgrounds that get the class, mean confidence, and which ones they are."""
    with torch.no_grad():
        results = [said(model(planted(x, present, one[None])), target) for one in backgrounds]
    kept = [is_kept for _, is_kept in results]
    return sum(kept) / len(kept), sum(confidence for confidence, _ in results) / len(kept), kept


def area(across: Sequence[float], values: Sequence[float]) -> float:
    """Trapezoids one by one, over the range."""
    total = sum((across[i + 1] - across[i]) * (values[i + 1] + values[i]) / 2 for i in range(len(values) - 1))
    return total / (across[-1] - across[0])
