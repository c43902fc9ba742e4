"""Values written, or added, where constant indices say: the masks go the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask, constant_mask, renewed
from captum_ad.engine.registry import is_in_place, register_rule
from captum_ad.engine.rules.combination import summed, written_mask
from captum_ad.engine.rules.ordering import refuse_samples
from captum_ad.engine.tags import tensors_in

_Write = Callable[[Callable[..., Tensor], Tensor, Any], Tensor]
"""``write(op, x, source)``: calls `op`, which is the rule's own or the one that is not in place."""


# Written: what was there before has no say


@register_rule("index_copy", "scatter", "index_fill", always=True)
def scatter(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int, index: Tensor, src: Any = None, **named: Any
) -> Tensor:
    """The mask of the source replaces that part of the mask; a number is no feature."""
    given = [named.pop(name) for name in ("source", "value") if name in named]
    source = given[0] if given else src
    if named:
        ad.refuse('is called with reduce= (use scatter_reduce, with "sum" or "prod") or out=')
    if op.__name__.startswith("index_fill") and isinstance(source, Tensor):
        if ad.is_data(source):
            ad.refuse("fills in a value that is computed from features")
        source = source.item()
    return _written(ad, op, input, source, lambda op, x, source: op(x, dim, index, source), [index])


@register_rule("select_scatter", "slice_scatter", "diagonal_scatter", always=True)
def view_scatter(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, src: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """As :func:`scatter`, into a view."""
    return _written(ad, op, input, src, lambda op, x, src: op(x, src, *args, **kwargs), [])


@register_rule("masked_scatter", always=True)
def masked_scatter(ad: Interpreter, op: Callable[..., Tensor], input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """As :func:`scatter`, one element after the other."""
    return _written(ad, op, input, source, lambda op, x, source: op(x, mask, source), [mask])


# Added: what was there before contributes


@register_rule("index_put", always=True)
def index_put(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    indices: Sequence[Tensor],
    values: Tensor,
    accumulate: bool = False,
) -> Tensor:
    """As :func:`scatter`, or as :func:`scatter_add`."""

    def write(op: Callable[..., Tensor], x: Tensor, values: Tensor) -> Tensor:
        return op(x, indices, values, accumulate)

    return (_added if accumulate else _written)(ad, op, input, values, write, tensors_in(indices))


@register_rule("scatter_add", always=True)
def scatter_add(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int, index: Tensor, src: Tensor
) -> Tensor:
    """Φ over the contributions, as in a sum of maps."""
    return _added(ad, op, input, src, lambda op, x, src: op(x, dim, index, src), [index], dim)


@register_rule("index_add", always=True)
def index_add(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int, index: Tensor, source: Tensor, *,
    alpha: float = 1,
) -> Tensor:  # fmt: skip
    """As :func:`scatter_add`."""
    if alpha != 1:
        source = ad.follow(torch.mul, source, alpha)
        ad.complete(source)
    return _added(ad, op, input, source, lambda op, x, source: op(x, dim, index, source), [index], dim)


@register_rule("scatter_reduce", "index_reduce", always=True)
def scatter_reduce(
    ad: Interpreter, op: Callable[..., Tensor], input: Tensor, dim: int, index: Tensor, src: Any = None,
    reduce: str = "", *, include_self: bool = True, source: Any = None,
) -> Tensor:  # fmt: skip
    """As :func:`scatter_add`, extremes too; a product is active where every factor is."""
    src = source if src is None else src
    if reduce == "mean" and ad.rule.average == "active" and any(ad.mask(x) is not None for x in (input, src)):
        ad.refuse('has reduce="mean", for which there is no rule with average="active"')

    def write(op: Callable[..., Tensor], x: Tensor, src: Tensor) -> Tensor:
        return op(x, dim, index, src, reduce, include_self=include_self)

    def count(_: Callable[..., Tensor], x: Tensor, src: Tensor) -> Tensor:
        x = x if include_self else x.scatter(dim, _everywhere(index, src, dim), 0)
        return x.scatter_add(dim, _everywhere(index, src, dim), src)

    return _added(ad, op, input, src, write, [index], dim, count, product=reduce == "prod")


def _everywhere(index: Tensor, src: Tensor, dim: int) -> Tensor:
    """An index along a dimension, written out for all of a source."""
    if index.dim() == src.dim() > 1:
        return index
    return index.reshape([-1 if d == dim % src.dim() else 1 for d in range(src.dim())]).expand_as(src)


def _written(
    ad: Interpreter, op: Callable[..., Tensor], x: Tensor, source: Any, write: _Write, indices: Sequence[Tensor]
) -> Tensor:
    if _depends(ad, x, source, indices):
        return ad.emit(write(op, x, source), None)
    ours, theirs = _parts(ad, x), _parts(ad, source)
    kept, feature = (write(_copying(op), *parts) for parts in zip(ours, theirs))
    return _emitted(ad, write(op, x, source), _mask(kept, feature), x, source)


def _added(
    ad: Interpreter,
    op: Callable[..., Tensor],
    x: Tensor,
    source: Tensor,
    write: _Write,
    indices: Sequence[Tensor],
    dim: int | None = None,
    count: _Write | None = None,
    product: bool = False,
) -> Tensor:
    if _depends(ad, x, source, indices):
        return ad.emit(write(op, x, source), None)
    masked = any(ad.mask(part) is not None for part in (x, source))
    for part in (x, source) if masked and dim is not None else ():
        refuse_samples(ad, part, dim)  # type: ignore[arg-type]
    ours, theirs = ([part.float() for part in _parts(ad, operand)] for operand in (x, source))
    kept, features = ((count or write)(_copying(op), *parts) for parts in zip(ours, theirs))
    mask = renewed(kept == features, features) if product else summed(ad, kept, features)
    if is_in_place(op):
        ad.deactivate_(x)
    out = write(op, x if is_in_place(op) else ad.deactivate(x), ad.deactivate(source))
    return _emitted(ad, out, mask, x, source)


def _emitted(ad: Interpreter, out: Tensor, mask: FeatureMask, *operands: Any) -> Tensor:
    """The result with its mask, if no samples of a batch meet in it."""
    known = [axes for x in operands if (axes := ad.axes(x)) is not None]
    masked = any(ad.mask(x) is not None for x in operands)
    ad.emit(out, mask)
    axes = ad.axes(out)
    if masked and axes is not None and axes.mixed and not all(one.mixed for one in known):
        ad.refuse("mixes the samples of a batch (pass them one by one)")
    return out


def _depends(ad: Interpreter, x: Tensor, source: Any, indices: Sequence[Tensor]) -> bool:
    """Whether features say where to write, of which none may be missing then."""
    if not any(map(ad.is_data, indices)):
        return False
    if any(ad.mask(part) is not None for part in (x, source, *indices)):
        ad.refuse("writes where indices say that are computed from features")
    return True


def _parts(ad: Interpreter, x: Any) -> Sequence[Any]:
    """Where an operand has kept features, and features at all; a number has none."""
    if not isinstance(x, Tensor):
        return False, False
    mask = written_mask(ad, x) if ad.is_data(x) else constant_mask(x)
    return mask.kept.expand(x.shape), mask.everywhere.expand(x.shape)


def _mask(kept: Tensor, feature: Tensor) -> FeatureMask:
    return FeatureMask(kept, None if bool(feature.all()) else feature)


def _copying(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation that is not in place."""
    found: Callable[..., Tensor] = getattr(Tensor, op.__name__.rstrip("_"))
    return found
