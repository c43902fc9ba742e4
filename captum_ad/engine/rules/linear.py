"""Linear maps over the last dimension: channels are mixed like in a 1×1 convolution, positions lose their mask."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.crop import Part, room_for
from captum_ad.engine.definitions import mixed_channels
from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.mixing import last_mixed
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
    mask, last, axes = ad.mask(x), x.dim() - 1, ad.axes(x)
    assert axes is not None
    if mask is not None and axes.crosses_samples([-1]):
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    if mask is not None and axes.is_vector:
        mask = None  # no position is left to deactivate
    elif mask is not None and mask.kept.shape[last] > 1:
        others = [d for d in axes.positions if d != -1 and axes.shape[d] > 1]
        mask = mixed_channels(mask, last, axes.dims[last], ad.tau if others else 0.0)
    by_position = mask is not None and ad.spares_checkpoint(x, last)
    part = None if mask is None else ad.part(x) if by_position else ad.clean_part(x)
    if part is not None and last not in part.box.sides:
        values = op(part.values, *constants)
        out = room_for(values, (*x.shape[:last], values.shape[last]))
        return ad.emit(out, mask, part=Part(part.box, values), axes=last_mixed(axes, values.shape[last]))
    ad.complete()
    out = op(x if by_position else ad.deactivate(x), *constants)
    return ad.emit(out, mask, axes=last_mixed(axes, out.shape[last]))
