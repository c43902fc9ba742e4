"""Operations that move, select or add positions: the same is done to the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._engine.dimensions import PERMUTE, permutation
from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.masks import PositionMask, all_true, compress, constant_mask, full_mask, undeactivated
from captum_ad._engine.registry import is_in_place, register_rule, takes_parts
from captum_ad._engine.reshapes import reshaped
from captum_ad._engine.rules.combination import written_mask
from captum_ad._engine.static import as_bytes
from captum_ad._engine.tags import tensors_in


# always: the axes of a tensor without a mask must be known too, because it may be combined with one that has a mask.
@register_rule("reshape", "view", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", always=True)
def reshape(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mask is reshaped like its tensor."""
    if op is Tensor.view and isinstance((*args, *kwargs.values())[0], torch.dtype):
        if ad.mask(x) is not None:
            ad.refuse("reinterprets memory as another dtype")
        return ad.emit(op(x, *args, **kwargs), None)
    ad.only(x)
    mask, clean, old = ad.mask(x), ad.is_clean(x), x.shape  # before squeeze_() changes it
    out = op(x, *args, **kwargs)
    return ad.emit(out, mask and mask.map(lambda part: reshaped(part, old, out.shape)), clean=clean)


@register_rule("reshape_as", "view_as", "expand_as", always=True)
def in_the_shape_of(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, other: Tensor) -> Any:
    """Like :func:`reshape` and :func:`select`: only the shape of `other` matters, so a constant stays a constant."""
    if not ad.is_data(x):
        return ad.constant(op(x, other))
    resized = getattr(Tensor, op.__name__.removesuffix("_as"))
    return ad.follow(resized, x, other.shape)


@register_rule(*PERMUTE, always=True)
@takes_parts
def permute(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mask is permuted like its tensor."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    order = permutation(op, x.dim(), *args, **kwargs)
    part = ad.permuted_part(x, order) if not is_in_place(op) else None
    if part is None:
        ad.complete()
    out = op(x, *args, **kwargs)
    return ad.emit(out, mask and mask.map(lambda part: part.permute(order)), clean=clean, part=part)


@register_rule(
    "narrow", "select", "getitem", "chunk", "split", "tensor_split", "unbind", "expand", "broadcast_to",
    "split_with_sizes", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", always=True,
)  # fmt: skip
def select(ad: Interpreter, op: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The mask goes through the same operation as its tensor."""
    ad.only(x)
    mask, clean = ad.mask(x), ad.is_clean(x)
    out = op(x, *args, **kwargs)

    def moved(part: Tensor) -> Any:
        return op(part.expand(x.shape), *args, **kwargs)

    return _moved(ad, out, mask, clean, moved)


@register_rule(
    "flip", "roll", "index_select", "repeat", "tile", "repeat_interleave", "pixel_shuffle", "pixel_unshuffle"
)
def move(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The mask goes through the same operation as its tensor."""
    ad.only(x)
    if kwargs.get("out") is not None:
        ad.refuse("writes into out=")
    mask, clean = ad.mask(x), ad.is_clean(x)
    out = op(x, *args, **kwargs)
    # flip and roll along given dimensions do nothing where the mask has size 1: no need to expand it
    small = op.__name__.startswith("flip") or (op.__name__.startswith("roll") and (len(args) > 1 or "dims" in kwargs))
    return _moved(ad, out, mask, clean, lambda part: op(part if small else part.expand(x.shape), *args, **kwargs))


@register_rule(
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor",
    always=True,
)  # fmt: skip
def of_the_same_shape(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Constants with the shape, dtype or device of a tensor."""
    ad.only(x)
    return ad.constant(op(x, *args, **kwargs))


@register_rule("new", always=True)
def new(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A constant with a tensor's dtype and device; copying features is refused."""
    if any(map(ad.is_data, tensors_in(args, kwargs))):
        ad.refuse("copies features (use clone)")
    return of_the_same_shape(ad, op, x, *args, **kwargs)


@register_rule("zero_", "fill_")
def overwriting(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    """A tensor filled with a number holds no features anymore."""
    ad.only(x)
    return ad.constant(op(x, *args))


@register_rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, groups: int) -> Any:
    """The masks of channels are permuted like the channels."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    assert mask is not None

    def shuffled(part: Tensor) -> Tensor:
        part = part.expand(*part.shape[:1], x.shape[1], *part.shape[2:])
        grouped: Tensor = part.unflatten(1, (groups, -1))
        return grouped.transpose(1, 2).flatten(1, 2)

    return _moved(ad, op(x, groups), mask, clean, shuffled)


@register_rule("pad", always=True)
@takes_parts
def pad(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """Constant padding is not a feature; reflected, replicated and circular padding copies features."""
    mask = ad.mask(input)
    dims = {input.dim() - 1 - d // 2 for d, margin in enumerate(pad) if margin}
    if mask is not None and not dims:
        return ad.follow(Tensor.clone, input)

    def grown(part: Tensor) -> Tensor:
        part = part.expand([input.shape[d] if d in dims else n for d, n in enumerate(part.shape)])
        padded = F.pad(as_bytes(part) if mode == "constant" else part.float(), list(pad), mode=mode)
        return padded.bool()

    if mode == "constant":
        behind = _inside(
            tuple(input.shape[d] if d in dims else 1 for d in range(input.dim())), tuple(pad), input.device
        )
        if mask is not None:
            behind = PositionMask(grown(mask.kept), behind.kept if mask.feature is None else grown(mask.feature))
    else:
        behind = (mask or full_mask(input)).map(grown)

    def run(x: Tensor) -> Tensor:
        return op(x, pad, mode, value)

    if mode != "constant" or value or min(pad) < 0:
        return ad.emit(run(ad.deactivate(input)), behind, clean=True)
    before = dict(zip(reversed(range(input.dim())), pad[::2]))
    after = dict(zip(reversed(range(input.dim())), pad[1::2]))
    shape = [n + before.get(d, 0) + after.get(d, 0) for d, n in enumerate(input.shape)]
    return ad.padded(run, input, [before.get(d, 0) for d in range(input.dim())], behind, shape)


@lru_cache(maxsize=256)
def _inside(shape: tuple[int, ...], pad: tuple[int, ...], device: torch.device) -> PositionMask:
    """The mask of a tensor that is kept whole, with constant padding around it; cached."""
    with torch.inference_mode(False):
        inside = F.pad(torch.ones(shape, dtype=torch.uint8, device=device), list(pad)).bool()
        return undeactivated(inside)


@register_rule(Tensor.__setitem__, always=True)
def assignment(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``: the mask of the value replaces the mask of ``x`` there."""
    if any(ad.mask(part) is not None for part in tensors_in(index)):
        if isinstance(index, Tensor) and index.shape == x.shape and not isinstance(value, Tensor):
            ad.follow(x.masked_fill_, index, value)
            return
        ad.refuse("writes at an index that is computed from deactivated features")
    mask = written_mask(ad, x)
    new = written_mask(ad, value) if isinstance(value, Tensor) else constant_mask(torch.zeros((), device=x.device))

    def replaced(part: Tensor, by: Tensor, shape: Sequence[int]) -> Tensor:
        part = part.expand(x.shape).clone()
        part[index] = by.expand(shape)
        return part

    shape = value.shape if isinstance(value, Tensor) else ()
    result = PositionMask(replaced(mask.kept, new.kept, shape), replaced(mask.everywhere, new.everywhere, shape))
    op(x, index, value)
    ad.emit(x, result if not all_true(result.everywhere) else PositionMask(result.kept))


def _moved(
    ad: Interpreter,
    out: Any,
    mask: PositionMask | None,
    clean: bool,
    move: Callable[[Tensor], Any],
) -> Any:
    """Emit one result or several, whose masks are found by applying `move` to ``mask.kept`` and ``mask.feature``."""
    kept = None if mask is None else move(mask.kept)
    feature = None if mask is None or mask.feature is None else move(mask.feature)
    if isinstance(out, Tensor):
        return ad.emit(out, _compressed(kept, feature), clean=clean)
    for i, part in enumerate(out):
        there = _compressed(None if kept is None else kept[i], None if feature is None else feature[i])
        ad.emit(part, there, clean=clean)
    return out


def _compressed(kept: Tensor | None, feature: Tensor | None) -> PositionMask | None:
    if kept is None:
        return None
    return PositionMask(compress(kept), None if feature is None else compress(feature))
