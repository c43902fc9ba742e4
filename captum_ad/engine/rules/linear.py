"""Linear maps over the last dimension: channels are mixed like in a 1×1 convolution, positions lose their mask."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.crop import Part, room_for
from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import reduce_positions
from captum_ad.engine.registry import register_rule, takes_parts


@register_rule(F.linear)
@takes_parts
def linear(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Checkpoint before; a position stays active if any of its channels is. Without positions left, no mask."""
    return over_last(ad, op, input, weight, bias)


def over_last(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *constants: Tensor | None) -> Tensor:
    """A linear map over the last dimension of `x`."""
    ad.only(x)
    mask, last = ad.mask(x), x.dim() - 1
    if mask is not None and ad.is_vector(x):
        mask = None  # no position is left to deactivate
    elif mask is not None and mask.kept.shape[last] > 1:
        mask = reduce_positions(mask, x.shape, [last], tau=0.0).mask
    by_position = mask is not None and ad.spares_checkpoint(x, last)
    part = None if mask is None else ad.part(x) if by_position else ad.clean_part(x)
    if part is not None and last not in part.box.sides:
        values = op(part.values, *constants)
        return ad.emit(room_for(values, (*x.shape[:last], values.shape[last])), mask, part=Part(part.box, values))
    ad.complete()
    return ad.emit(op(x if by_position else ad.deactivate(x), *constants), mask)
