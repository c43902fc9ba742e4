"""Concatenate several inputs into one, so that an explanation of all of them is planted at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.answers import Answering
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds, OtherClassImages
from captum_ad.metrics.inputs import Inputs, Row, with_channel
from captum_ad.targets.base import Target

Grounds = Backgrounds | DrawnBackgrounds | tuple[Backgrounds | DrawnBackgrounds, ...]
"""Backgrounds for one input; for several inputs, the same for each or a tuple."""


def packed(
    model: nn.Module, x: Inputs, masks: Tensor, backgrounds: Grounds
) -> tuple[nn.Module, Tensor, Tensor, Backgrounds | DrawnBackgrounds]:
    """Rewrite arguments for several inputs as ones for a single input of shape (1, 1, values).

    Parameters
    ----------
    model : nn.Module
        Takes the inputs.
    x : Tensor or tuple of Tensor
        One sample.
    masks : Tensor
        bool, shape (M, *spatial), or (M, positions) for the row of several inputs.
    backgrounds : Backgrounds or DrawnBackgrounds, or a tuple of these
        For each input.

    Returns
    -------
    tuple
        The four arguments for a single input. If `x` is one input, they are unchanged, except that a series gets a
        channel dimension.

    Raises
    ------
    ValueError
        If there is not one of the backgrounds per input, or several inputs are to be planted on images of a data set.
    """
    if isinstance(x, Tensor):
        if isinstance(backgrounds, tuple):
            raise ValueError(f"got a tuple of {len(backgrounds)} backgrounds for one input: give one of them")
        return *with_channel(model, x), masks, backgrounds
    row = Row(x, alone=False)
    each = backgrounds if isinstance(backgrounds, tuple) else (backgrounds,) * len(x)
    if len(each) != len(x):
        raise ValueError(f"got {len(each)} backgrounds for {len(x)} inputs: give one, or a tuple with one per input")
    if any(isinstance(one, OtherClassImages) for one in each):
        raise ValueError("OtherClassImages supports one input only: plant several inputs on SolidColors")
    kept = [
        (mask if image.dim() == 2 else mask[:, None].expand(-1, *image.shape[1:])).flatten(1)
        for mask, image in zip(row.split(masks), x)
    ]
    exact = len({image.dtype for image in x}) == 1  # mixed dtypes become float64: float32 cannot hold all integers
    values = torch.cat([image.flatten(1) if exact else image.flatten(1).double() for image in x], 1)[:, None]
    unpacks = _Unpacks(model.model if isinstance(model, Answering) else model, x)
    taking = model.around(unpacks) if isinstance(model, Answering) else unpacks
    return taking, values, torch.cat(kept, 1), _Together(each, x)


class _Unpacks(nn.Module):
    """A model of several inputs that takes their concatenated values, (N, 1, values)."""

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.model, self.training = model, model.training
        self.shapes, self.dtypes = [x.shape[1:] for x in inputs], [x.dtype for x in inputs]

    def forward(self, values: Tensor) -> Any:
        """The model's output."""
        parts = values[:, 0].split([math.prod(shape) for shape in self.shapes], 1)
        return self.model(
            *(part.reshape(-1, *shape).to(dtype) for part, shape, dtype in zip(parts, self.shapes, self.dtypes))
        )


@dataclass(frozen=True)
class _Together:
    """Backgrounds for several inputs, paired by index."""

    each: tuple[Backgrounds | DrawnBackgrounds, ...]
    inputs: tuple[Tensor, ...]

    def draw(
        self, model: nn.Module, x: Tensor, target: int | Target, *, batch_size: int | None = None
    ) -> DrawnBackgrounds:
        """Draw backgrounds for all inputs, concatenated, shape (b, 1, values)."""
        drawn = [
            one
            if isinstance(one, DrawnBackgrounds)
            else one.draw(model, image[:, None] if image.dim() == 2 else image, target, batch_size=batch_size)
            for one, image in zip(self.each, self.inputs)
        ]
        counts = [one.n for one in drawn]
        if len(set(counts)) > 1:
            raise ValueError(f"the inputs have {counts} backgrounds, expected the same number for each")

        def batch(start: int, stop: int) -> Tensor:
            return torch.cat([one.batch(start, stop).flatten(1) for one in drawn], 1)[:, None].to(x)

        return DrawnBackgrounds(batch, counts[0], sum(one.excluded for one in drawn))
