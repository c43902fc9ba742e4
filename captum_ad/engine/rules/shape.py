"""Operations that move, select or add positions: the mask is moved, selected or added to alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad.engine.interpreter import Interpreter
from captum_ad.engine.masks import FeatureMask, compress, full_mask
from captum_ad.engine.registry import register_rule
from captum_ad.engine.rules.combination import _own_mask

_MOVES = (
    "reshape flatten ravel unflatten permute transpose t swapaxes swapdims movedim moveaxis squeeze "
    "unsqueeze expand broadcast_to narrow select getitem index_select chunk split tensor_split unbind "
    "flip roll repeat tile repeat_interleave pixel_shuffle pixel_unshuffle"
).split()


@register_rule(*_MOVES, Tensor.T.__get__, Tensor.mT.__get__, Tensor.H.__get__)  # type: ignore[attr-defined]
def move(ad: Interpreter, op: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The mask goes through the same operation as its tensor."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    ad.only(x)
    if mask is None:
        return ad.emit(op(x, *args, **kwargs), None)
    shape = x.shape  # before squeeze_() and its like change it
    return _moved(ad, op(x, *args, **kwargs), mask, clean, lambda part: op(part.expand(shape), *args, **kwargs))


@register_rule(
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor",
    always=True,
)  # fmt: skip
def of_the_same_shape(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Constants that only look at a tensor's shape, dtype and device."""
    ad.only(x)
    return ad.constant(op(x, *args, **kwargs))


@register_rule("zero_", "fill_")
def overwriting(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    """A tensor filled with a number holds no features any more."""
    ad.only(x)
    return ad.constant(op(x, *args))


@register_rule("reshape_as", "expand_as", "view_as", always=True)
def in_the_shape_of(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, other: Tensor) -> Tensor:
    """As :func:`move`; a constant in the shape of a map is a constant still."""
    mask, clean, out = ad.mask(x), ad.is_clean(x), op(x, other)
    if not ad.is_data(x):
        return ad.constant(out)
    if mask is None:
        return ad.emit(out, None)
    resized = torch.Tensor.expand if op.__name__ == "expand_as" else torch.Tensor.reshape
    _moved(ad, out, mask, clean, lambda part: resized(part.expand(x.shape), out.shape))
    return out


@register_rule("view")
def view(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *shape: Any) -> Tensor:
    """As :func:`move`; an expanded mask cannot always be viewed, so it is reshaped."""
    if isinstance(shape[0], torch.dtype):
        ad.refuse("reinterprets memory")
    mask, clean = ad.mask(x), ad.is_clean(x)
    out: Tensor = op(x, *shape)
    if mask is None:
        return ad.emit(out, None)
    _moved(ad, out, mask, clean, lambda part: part.expand(x.shape).reshape(out.shape))
    return out


@register_rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, groups: int) -> Tensor:
    """Masks of channels change places as the channels do."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    assert mask is not None

    def shuffled(part: Tensor) -> Tensor:
        part = part.expand(*part.shape[:1], x.shape[1], *part.shape[2:])
        grouped: Tensor = part.unflatten(1, (groups, -1))
        return grouped.transpose(1, 2).flatten(1, 2)

    out: Tensor = op(x, groups)
    _moved(ad, out, mask, clean, shuffled)
    return out


@register_rule("pad", always=True)
def pad(
    ad: Interpreter,
    op: Callable[..., Tensor],
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """Constant padding is no feature; reflected, replicated and circular padding copies features."""
    mask = ad.mask(input) or full_mask(input)
    if mode == "constant":
        mask = FeatureMask(mask.kept, mask.everywhere)
    dims = range(input.dim() - len(pad) // 2, input.dim())

    def grown(part: Tensor) -> Tensor:
        part = part.expand([input.shape[d] if d in dims else n for d, n in enumerate(part.shape)])
        padded = F.pad(part.to(torch.uint8) if mode == "constant" else part.float(), list(pad), mode=mode)
        return padded.bool()

    out = op(ad.deactivate(input), pad, mode, value)
    return ad.emit(out, mask.map(grown), clean=True)


@register_rule(Tensor.__setitem__, always=True)
def assignment(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value: the mask of the value replaces that part of the mask."""
    mask = _own_mask(ad, x) or full_mask(x)
    if isinstance(value, Tensor):
        new = _own_mask(ad, value) or full_mask(value)
    else:
        new = FeatureMask(*(torch.zeros((), dtype=torch.bool, device=x.device),) * 2)

    def replaced(part: Tensor, by: Tensor, shape: Sequence[int]) -> Tensor:
        part = part.expand(x.shape).clone()
        part[index] = by.expand(shape)
        return part

    shape = value.shape if isinstance(value, Tensor) else ()
    result = FeatureMask(replaced(mask.kept, new.kept, shape), replaced(mask.everywhere, new.everywhere, shape))
    op(x, index, value)
    ad.emit(x, result if not bool(result.everywhere.all()) else FeatureMask(result.kept))


def _moved(ad: Interpreter, out: Any, mask: FeatureMask, clean: bool, move: Callable[[Tensor], Any]) -> Any:
    kept = move(mask.kept)
    feature = None if mask.feature is None else move(mask.feature)
    if isinstance(out, Tensor):
        return ad.emit(out, FeatureMask(compress(kept), None if feature is None else compress(feature)), clean=clean)
    for i, part in enumerate(out):
        there = None if feature is None else compress(feature[i])
        ad.emit(part, FeatureMask(compress(kept[i]), there), clean=clean)
    return out
