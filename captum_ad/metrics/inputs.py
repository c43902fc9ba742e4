"""Inputs of metrics: one or several inputs, series without channels, and further arguments of the model."""

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
"""One sample: an input of shape (1, C, *spatial), or (1, T) with T positions; or several of these."""


@dataclass(frozen=True)
class Row:
    """The positions of all inputs of a sample, concatenated so that metrics see one input (1, 1, positions).

    Attributes
    ----------
    inputs : tuple of Tensor
        Shape (1, C, *spatial) or (1, T) each.
    alone : bool
        Whether a single input was given, not a tuple.
    """

    inputs: tuple[Tensor, ...]
    alone: bool

    @property
    def positions(self) -> Tensor:
        """A stand-in for the inputs: zeros, shape (1, 1, positions)."""
        count = sum(_spatial(x).numel() for x in self.inputs)
        return torch.zeros(1, 1, count, device=self.inputs[0].device)

    def values(self, attribution: Any) -> Tensor:
        """Concatenate attributions of the inputs, float64, shape (1, 1, positions)."""
        given = self._each(attribution, "attribution")
        values = [values_of_positions(one, _with_channel(x)) for one, x in zip(given, self.inputs)]
        return torch.cat(values)[None, None]

    def labels(self, feature_mask: Any) -> Tensor:
        """Concatenate feature masks of the inputs. Equal labels are one group, as in Captum."""
        given = self._each(feature_mask, "feature mask")
        return torch.cat([labels_of_positions(one, _with_channel(x)) for one, x in zip(given, self.inputs)])

    def row(self, masks: Any) -> Tensor:
        """Concatenate masks of the inputs, bool, shape (positions)."""
        given = self._each(masks, "mask")
        for one, x in zip(given, self.inputs):
            spatial = tuple(_spatial(x).shape)
            if not isinstance(one, Tensor) or one.dtype != torch.bool or tuple(one.shape)[-len(spatial) :] != spatial:
                raise ValueError(f"expected a bool mask of shape {spatial} for the input {tuple(x.shape)}")
        return torch.cat([one.reshape(-1) for one in given])

    def split(self, masks: Tensor) -> tuple[Tensor, ...]:
        """Split masks of the row, bool, shape (B, positions), into masks of the inputs, shape (B, *spatial) each."""
        spatial = [_spatial(x).shape for x in self.inputs]
        parts = masks.split([shape.numel() for shape in spatial], 1)
        return tuple(part.reshape(len(masks), *shape) for part, shape in zip(parts, spatial))

    def single(self, mask: Tensor) -> Any:
        """Split a mask of the row, shape (positions), and return a tensor or a tuple as the inputs were given."""
        masks = tuple(part[0] for part in self.split(mask[None]))
        return masks[0] if self.alone else masks

    def _each(self, given: Any, what: str) -> Sequence[Any]:
        each = (given,) if self.alone and not isinstance(given, tuple) else given
        if not isinstance(each, tuple) or len(each) != len(self.inputs):
            raise ValueError(f"expected a tuple of {len(self.inputs)}, one {what} per input, got {_described(given)}")
        return each


class RowForward(Answering):
    """A forward of several inputs that takes masks of a :class:`Row`."""

    def __init__(self, forward: Answering, row: Row) -> None:
        super().__init__()
        self.model, self.forward_of_inputs, self.row = forward.model, forward, row
        self.select, self.target, self.training = forward.select, forward.target, False

    def outputs(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Any:
        """The readout for the inputs under masks of the row, shape (B, positions)."""
        count = len(inputs[0])
        forward = self.forward_of_inputs.with_target(self.target)
        if not isinstance(mask, Tensor):
            return forward.outputs(*(x.repeat(count, *(1,) * (x.dim() - 1)) for x in self.row.inputs))
        given = [x.expand(count, *x.shape[1:]) for x in self.row.inputs]
        return forward.outputs(*given, mask=self.row.split(mask))


class Bound(nn.Module):
    """A model with fixed trailing arguments, the same for every sample.

    Parameters
    ----------
    model : nn.Module
        Takes the inputs, then these arguments.
    more : tuple
        The trailing arguments. Tensors with a batch dimension of 1 are expanded to the batch.
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
    """A forward or plain model that passes these arguments after the inputs, as Captum's attributors do."""
    if additional_forward_args is None:
        return forward
    more = as_tuple(additional_forward_args)
    if not isinstance(forward, Answering):
        return Bound(forward, more)
    return forward.around(Bound(forward.model, more))


class _WithoutChannel(nn.Module):
    """A model of series (N, T) that takes them as (N, 1, T)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.training = model, model.training

    def forward(self, x: Tensor, *more: Any) -> Any:
        """The model's output."""
        return self.model(x[:, 0], *more)


def with_channel(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """The model and the input, with a channel dimension added if the input is a series (1, T)."""
    if not isinstance(x, Tensor) or x.dim() != 2:
        return model, x
    if isinstance(model, Answering):
        return model.around(_WithoutChannel(model.model)), x[:, None]
    return _WithoutChannel(model), x[:, None]


def posed(
    forward: Answering, x: Any, attribution: Any = None, feature_mask: Any = None
) -> tuple[Answering, Tensor, Any, Any, Row | None]:
    """Rewrite arguments for several inputs as ones for a row: forward, input, attribution, feature mask, the row."""
    row = row_of(x)
    if row is None:
        return forward, x, attribution, feature_mask, None
    values = None if attribution is None else row.values(attribution)
    labels = None if feature_mask is None else row.labels(feature_mask)
    return RowForward(forward, row), row.positions, values, labels, row


def row_of(x: Any) -> Row | None:
    """The row of the inputs, or None for a single input of shape (1, C, *spatial), which needs none.

    Raises
    ------
    TypeError, ValueError
        If the inputs are invalid.
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
            f"expected inputs of one sample, shape (1, C, *spatial) or (1, T) each, got {_described(x)}: pass "
            "anything that is not a tensor in additional_forward_args"
        )


def _spatial(x: Tensor) -> Tensor:
    """A tensor with the positions of an input: its first channel."""
    return x[0] if x.dim() == 2 else x[0, 0]


def _with_channel(x: Tensor) -> Tensor:
    """An input (1, T) as (1, 1, T)."""
    return x[:, None] if x.dim() == 2 else x


def _described(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"a tensor of shape {tuple(given.shape)}"
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple) else type(given).__name__
