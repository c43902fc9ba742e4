"""Element-wise operations on one tensor: the mask stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_ad._engine.interpreter import Interpreter
from captum_ad._engine.registry import is_in_place, register_rule, takes_parts
from captum_ad._engine.tags import tensors_in

_ZERO_STAYS_ZERO = (
    "relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish tanh hardshrink softshrink tanhshrink "
    "softsign dropout feature_dropout dropout1d dropout2d dropout3d abs absolute neg negative "
    "positive square sign sgn sin sinh tan asin arcsin asinh arcsinh atan arctan atanh arctanh erf erfinv expm1 log1p "
    "floor ceil round trunc fix frac deg2rad rad2deg nan_to_num conj_physical "
    "detach float double half bfloat16 bool byte char short int long cfloat cdouble chalf cpu cuda "
    "isnan isinf isposinf isneginf i1 i1e bessel_j1 modified_bessel_i1"
).split()
_ZERO_BECOMES_SOMETHING = (
    "sigmoid expit hardsigmoid softplus logsigmoid exp exp2 cos cosh acos arccos erfc erfcx sinc "
    "hardtanh threshold alpha_dropout feature_alpha_dropout logical_not bitwise_not invert isfinite isreal signbit "
    "angle i0 i0e bessel_j0 modified_bessel_i0 ndtr log_ndtr bucketize"
).split()  # signbit and angle are here because a dead position may hold -0
# Where their slope is finite, which is put at dead positions if there are gradients; 1 for those that are not listed.
_STEEP = {"logit": 0.5, "ndtri": 0.5, "acosh": 2.0, "arccosh": 2.0}
_STEEP_NAMES = (
    "sqrt rsqrt reciprocal log log2 log10 logit lgamma gammaln digamma psi entr ndtri acosh arccosh "
    "bessel_y0 bessel_y1 modified_bessel_k0 modified_bessel_k1"
).split()


@register_rule(*_ZERO_STAYS_ZERO)
@takes_parts
def zero_preserving(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """f(0) = 0: dead positions that are zero stay zero."""
    ad.only(x)
    return _applied(ad, op, x, args, kwargs, clean=ad.is_clean(x))


@register_rule(Tensor.data.__get__, always=True)  # type: ignore[attr-defined]
def data(ad: Interpreter, op: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Run ``x.detach()`` instead of ``x.data``: it shares torch's count of writes with `x`."""
    return ad.follow(Tensor.detach, x) if ad.is_data(x) else ad.constant(x.detach())


@register_rule(*_STEEP_NAMES)
def steep_at_zero(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The slope at 0 is infinite, so the gradient of a dead position would be 0 · ∞ = NaN: avoid 0 there."""
    ad.only(x)
    mask = ad.mask(x)
    if mask is not None and torch.is_grad_enabled() and not is_in_place(op):
        x = x.masked_fill(mask.dead, _STEEP.get(op.__name__.removeprefix("special_"), 1))
    return ad.emit(op(x, *args, **kwargs), mask)


@register_rule("clone", "contiguous", "conj", "resolve_conj", "resolve_neg", "alias_copy", "detach_copy")
@register_rule("to", "type_as", always=True)
def conversion(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Like :func:`zero_preserving`. A tensor given as the target adds its dtype and device, not its features."""
    mask, clean = ad.mask(x), ad.is_clean(x)
    out = op(x, *args, **kwargs)
    return ad.emit(out, mask, clean=clean) if ad.is_data(x) else ad.constant(out)


@register_rule("as_tensor", "asarray", "type", always=True)
def converted(ad: Interpreter, op: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Like :func:`conversion` for a tensor. ``x.type()`` returns a string, and a list of numbers has no mask."""
    if isinstance(x, Tensor) and (args or kwargs or op is not Tensor.type):
        return conversion(ad, op, x, *args, **kwargs)
    if any(ad.mask(part) is not None for part in tensors_in(x)) and op is not Tensor.type:
        ad.refuse("makes one tensor of a list of them (use torch.stack)")
    out = op(x, *args, **kwargs)
    return ad.emit(out, None) if isinstance(out, Tensor) else out


@register_rule(*_ZERO_BECOMES_SOMETHING)
@takes_parts
def elementwise(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """f(0) ≠ 0: dead positions become non-zero until the next checkpoint."""
    ad.only(x)
    return _applied(ad, op, x, args, kwargs, clean=False)


def _applied(ad: Interpreter, op: Callable[..., Tensor], x: Tensor, args: Any, kwargs: Any, clean: bool) -> Tensor:
    mask = ad.mask(x)
    if tensors_in(args, kwargs):  # these need not broadcast to x, such as the weight of prelu
        ad.complete()
        return ad.emit(op(x, *args, **kwargs), mask, clean=clean)
    return ad.by_position(lambda x: op(x, *args, **kwargs), [x], mask, clean=clean)
