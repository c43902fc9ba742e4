"""Operations that write or add values at constant indices: the same is done to the masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.definitions import renewed
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_true
from captum_ad._engine.registry import is_in_place, register_rule
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.rules.combined_masks import summed
from captum_ad._engine.tags import tensors_in

_WRITE = {
    "scatter": "dim index src",
    "index_copy": "dim index source",
    "index_fill": "dim index value",
    "index_put": "indices values accumulate",
    "select_scatter": "src dim index",
    "slice_scatter": "src dim start end step",
    "diagonal_scatter": "src offset dim1 dim2",
    "masked_scatter": "mask source",
}
_ADD = {
    "scatter_add": "dim index src",
    "index_add": "dim index source",
    "scatter_reduce": "dim index src reduce",
    "index_reduce": "dim index source reduce",
}


@register_rule(*_WRITE, *_ADD, always=True)
def scatter(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Where values are written, the mask of the source replaces the mask; a number is not a feature.

    Where values are added or compared, Φ over the contributions, as in a sum of maps. A product is active where every
    factor is.
    """
    name = op.__name__.rstrip("_")
    names = (_WRITE | _ADD)[name].split()
    named = dict(zip(names, args)) | kwargs
    if not named.keys() <= {*names, "value"} | ({"alpha", "include_self"} if name in _ADD else set()):
        ad.refuse("was called with arguments that its rule does not accept (out=; or reduce=: use scatter_reduce)")
    key = next(key for key in ("src", "source", "values", "value") if key in named)
    source = named.pop(key)
    if not isinstance(source, Tensor) and key == "src":
        key = "value"
    if name == "index_fill" and isinstance(source, Tensor):
        if ad.is_data(source):
            ad.refuse("fills in a value that is computed from features")
        source = source.item()
    if named.pop("alpha", 1) != 1:
        source = ad.follow(torch.mul, source, kwargs["alpha"])
        ad.complete(source)

    def write(op: Callable[..., Tensor], x: Tensor, source: Any) -> Tensor:
        return op(x, **named, **{key: source})

    masked = [x for x in (input, source, *tensors_in(named)) if ad.mask(x) is not None]
    if any(map(ad.is_data, tensors_in(named))):
        if masked:
            ad.refuse("writes at indices that are computed from features")
        return ad.emit(write(op, input, source), None)
    known = [axes for x in (input, source) if (axes := ad.axes(x)) is not None]
    if name in _ADD or named.get("accumulate"):
        out, mask = _added(ad, op, input, source, write, named)
    else:
        kept, feature = (write(getattr(Tensor, name), *parts) for parts in zip(_parts(ad, input), _parts(ad, source)))
        out, mask = write(op, input, source), PositionMask(kept, None if all_true(feature) else feature)
    ad.emit(out, mask)
    axes = ad.axes(out)
    if masked and axes is not None and axes.mixed and not all(one.mixed for one in known):
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    return out


def _added(
    ad: Interpreter,
    op: Callable[..., Tensor],
    x: Tensor,
    source: Tensor,
    write: Callable[[Callable[..., Tensor], Tensor, Any], Tensor],
    named: dict[str, Any],
) -> tuple[Tensor, PositionMask]:
    masked = any(ad.mask(part) is not None for part in (x, source))
    kind, name = named.get("reduce"), op.__name__.rstrip("_")
    if kind == "mean" and ad.rule.average == "active" and masked:
        ad.refuse('has reduce="mean", for which there is no rule with average="active"')

    def count(x: Tensor, source: Tensor) -> Tensor:
        if kind is None:
            return write(getattr(Tensor, name), x, source)
        dim, index = named["dim"], named["index"]
        if index.dim() < source.dim() or name == "index_reduce":  # an index per slice: expand it to the elements
            index = index.reshape([-1 if d == dim % source.dim() else 1 for d in range(source.dim())])
            index = index.expand_as(source)
        x = x if named.get("include_self", True) else x.scatter(dim, index, 0)
        return x.scatter_add(dim, index, source)

    ours, theirs = ([part.float() for part in _parts(ad, operand)] for operand in (x, source))
    kept, features = (count(*parts) for parts in zip(ours, theirs))
    mask = renewed(kept == features, features) if kind == "prod" else summed(ad, kept, features)
    x = (ad.deactivate_ if is_in_place(op) else ad.deactivate)(x)
    return write(op, x, ad.deactivate(source)), mask


def _parts(ad: Interpreter, x: Any) -> tuple[Any, Any]:
    """Where an operand has kept features, and where it has features; a number has none."""
    if not isinstance(x, Tensor):
        return False, False
    mask = written_mask(ad, x)
    return mask.kept.expand(x.shape), mask.everywhere.expand(x.shape)
