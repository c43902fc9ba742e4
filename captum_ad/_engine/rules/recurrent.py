"""Recurrent layers along a sequence of positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.definitions import Windows, attribute_positions, reduce_positions
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask
from captum_ad._engine.registry import register_rule


@register_rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(
    ad: Interpreter,
    op: Callable[..., Sequence[Tensor]],
    input: Tensor,
    hx: Tensor | Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: Any,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """Checkpoint before; Φ over a position and those before it, or over the whole sequence if bidirectional.

    The final states are statistics of the whole sequence: active if anything is.
    """
    if not isinstance(has_biases, bool):  # the overload for packed sequences, with batch sizes as second argument
        ad.refuse("runs along packed sequences")
    initial = [hx] if isinstance(hx, Tensor) else hx
    if any(ad.is_data(state) for state in initial):
        ad.refuse("starts from a state that is computed from features")
    mask = ad.mask(input)
    assert mask is not None
    output, *final = op(
        ad.deactivate(input), hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
    )
    time, features = (1 if batch_first else 0), input.dim() - 1
    mask = reduce_positions(mask, input.shape, [features], tau=0.0).mask  # a position is active if any feature of it is
    return (
        ad.emit(output, _along(ad, mask, input.shape[time], time, bidirectional)),
        *(ad.emit(state, _of_the_whole(mask, input.shape, time)) for state in final),
    )


def _along(ad: Interpreter, mask: PositionMask, steps: int, time: int, bidirectional: bool) -> PositionMask:
    """The mask of the outputs of all steps; each covers its own position."""
    reads = torch.ones(steps, steps, device=mask.kept.device)
    windows = Windows([reads if bidirectional else reads.tril()], [torch.eye(steps, device=mask.kept.device)])
    last = mask.map(lambda part: part.transpose(time, -1))
    return attribute_positions(last, windows, ad.rule, ad.tau).mask.map(lambda part: part.transpose(time, -1))


def _of_the_whole(mask: PositionMask, shape: Sequence[int], time: int) -> PositionMask:
    """The mask of a final state, shape (layers, samples, features)."""
    whole = reduce_positions(mask, shape, [time], tau=0.0).mask
    return whole.map(lambda part: part.transpose(0, 1)) if time == 1 else whole
