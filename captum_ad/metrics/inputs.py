"""What metrics are given as the input: one, several, a series without channels; and more arguments of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.answers import Answering, Masks
from captum_ad._forwards.arguments import as_tuple
from captum_ad._scoring import one_input
from captum_ad.metrics.ranking import labels_of_positions, values_of_positions

Inputs = Tensor | tuple[Tensor, ...]
"""One sample: an input of shape (1, C, *spatial), or (1, T), whose T values are positions; or several of these."""


@dataclass(frozen=True)
class Row:
    """The positions of one sample's inputs in a row, which metrics work on as on one input of shape (1, 1, positions).

    Attributes
    ----------
    inputs : tuple of Tensor
        Shape (1, C, *spatial) or (1, T) each.
    alone : bool
        Whether it was given alone, not in a tuple.
    """

    inputs: tuple[Tensor, ...]
    alone: bool

    @property
    def positions(self) -> Tensor:
        """Zeros in place of the inputs, shape (1, 1, positions)."""
        count = sum(_spatial(x).numel() for x in self.inputs)
        return torch.zeros(1, 1, count, device=self.inputs[0].device)

    def values(self, attribution: Any) -> Tensor:
        """Attributions of the inputs as one of the row, float64, shape (1, 1, positions)."""
        given = self._each(attribution, "attribution")
        values = [values_of_positions(one, _with_channel(x)) for one, x in zip(given, self.inputs)]
        return torch.cat(values)[None, None]

    def labels(self, feature_mask: Any) -> Tensor:
        """Feature masks of the inputs as one of the row; equal labels are one group, as in Captum."""
        given = self._each(feature_mask, "feature mask")
        return torch.cat([labels_of_positions(one, _with_channel(x)) for one, x in zip(given, self.inputs)])

    def row(self, masks: Any) -> Tensor:
        """Masks of the inputs, bool, as one of the row, shape (positions)."""
        given = self._each(masks, "mask")
        for one, x in zip(given, self.inputs):
            spatial = tuple(_spatial(x).shape)
            if not isinstance(one, Tensor) or one.dtype != torch.bool or tuple(one.shape)[-len(spatial) :] != spatial:
                raise ValueError(f"expected a bool mask of shape {spatial} for the input {tuple(x.shape)}")
        return torch.cat([one.reshape(-1) for one in given])

    def split(self, masks: Tensor) -> tuple[Tensor, ...]:
        """Masks of the row, bool, shape (B, positions), as masks of the inputs, shape (B, *spatial) each."""
        spatial = [_spatial(x).shape for x in self.inputs]
        parts = masks.split([shape.numel() for shape in spatial], 1)
        return tuple(part.reshape(len(masks), *shape) for part, shape in zip(parts, spatial))

    def single(self, mask: Tensor) -> Any:
        """A mask of the row, shape (positions), in the form in which the inputs were given."""
        masks = tuple(part[0] for part in self.split(mask[None]))
        return masks[0] if self.alone else masks

    def _each(self, given: Any, what: str) -> Sequence[Any]:
        each = (given,) if self.alone and not isinstance(given, tuple) else given
        if not isinstance(each, tuple) or len(each) != len(self.inputs):
            raise ValueError(
                f"expected a tuple of {len(self.inputs)}, one {what} for each input, got {_described(given)}"
            )
        return each


class RowForward(Answering):
    """A forward of several inputs as one of a :class:`Row`."""

    def __init__(self, forward: Answering, row: Row) -> None:
        super().__init__()
        self.model, self.forward_of_inputs, self.row = forward.model, forward, row
        self.select, self.target, self.training = forward.select, forward.target, False

    def outputs(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Any:
        """What the target reads for the inputs under masks of the row, shape (B, positions)."""
        count = len(inputs[0])
        forward = self.forward_of_inputs.with_target(self.target)
        if not isinstance(mask, Tensor):
            return forward.outputs(*(x.repeat(count, *(1,) * (x.dim() - 1)) for x in self.row.inputs))
        given = [x.expand(count, *x.shape[1:]) for x in self.row.inputs]
        return forward.outputs(*given, mask=self.row.split(mask))


class Bound(nn.Module):
    """A model with arguments behind its first ones, the same for every sample.

    Parameters
    ----------
    model : nn.Module
        Takes the inputs, then these.
    more : tuple
        Tensors with a batch dimension of 1 are repeated for the batch, all else is passed on.
    """

    def __init__(self, model: nn.Module, more: tuple[Any, ...]) -> None:
        super().__init__()
        self.model, self.more, self.training = model, more, model.training

    def forward(self, *inputs: Any) -> Any:
        """The model's output."""
        count = len(inputs[0])
        rows = [
            one.expand(count, *one.shape[1:]) if isinstance(one, Tensor) and one.dim() and len(one) == 1 else one
            for one in self.more
        ]
        return self.model(*inputs, *rows)


def with_arguments(forward: nn.Module, additional_forward_args: Any) -> nn.Module:
    """A forward, or plain model, that passes these arguments on after the inputs, as Captum's attributors do."""
    if additional_forward_args is None:
        return forward
    more = as_tuple(additional_forward_args)
    if not isinstance(forward, Answering):
        return Bound(forward, more)
    return forward.around(Bound(forward.model, more))


class _WithoutChannel(nn.Module):
    """A model of series (N, T), given them as (N, 1, T)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.training = model, model.training

    def forward(self, x: Tensor, *more: Any) -> Any:
        """The model's output."""
        return self.model(x[:, 0], *more)


def with_channel(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """A model and an input with a dimension for channels, where a series (1, T) has none."""
    if not isinstance(x, Tensor) or x.dim() != 2:
        return model, x
    if isinstance(model, Answering):
        return model.around(_WithoutChannel(model.model)), x[:, None]
    return _WithoutChannel(model), x[:, None]


def posed(
    forward: Answering, x: Any, attribution: Any = None, feature_mask: Any = None
) -> tuple[Answering, Tensor, Any, Any, Row | None]:
    """A question about several inputs as one about a row: forward, input, attribution, feature mask, and the row."""
    row = row_of(x)
    if row is None:
        return forward, x, attribution, feature_mask, None
    values = None if attribution is None else row.values(attribution)
    labels = None if feature_mask is None else row.labels(feature_mask)
    return RowForward(forward, row), row.positions, values, labels, row


def row_of(x: Any) -> Row | None:
    """The row of what was given, or None for one input of shape (1, C, *spatial), which needs none.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    if isinstance(x, tuple) and x:
        for one in x:
            _checked(one)
        return Row(x, alone=False)
    if isinstance(x, Tensor) and x.dim() == 2 and len(x) == 1:
        return Row((x,), alone=True)
    one_input(x)
    return None


def _checked(x: Any) -> None:
    if not isinstance(x, Tensor) or x.dim() < 2 or len(x) != 1:
        raise ValueError(
            f"expected inputs of one sample, shape (1, C, *spatial) or (1, T) each, got {_described(x)}; what is no "
            "tensor goes into additional_forward_args"
        )


def _spatial(x: Tensor) -> Tensor:
    """The positions of an input, whatever it holds there: its first channel."""
    return x[0] if x.dim() == 2 else x[0, 0]


def _with_channel(x: Tensor) -> Tensor:
    """An input (1, T) as (1, 1, T)."""
    return x[:, None] if x.dim() == 2 else x


def _described(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"a tensor of shape {tuple(given.shape)}"
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple) else type(given).__name__
