"""Captum's attributors on an ADForward or BaselineForward: they perturb a mask, and the image stays as it is.

Captum paints: it replaces features of its input by baselines and calls the forward function. Here
it is handed a tensor of ones to paint zeros into, which is the mask, exactly; the image travels
along as an additional argument. Only `attribute` is wrapped, and nothing private is relied on.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import (
    Attribution,
    DataLoaderAttribution,
    FeatureAblation,
    FeaturePermutation,
    KernelShap,
    LayerFeatureAblation,
    LayerFeaturePermutation,
    Lime,
    LimeBase,
    NeuronFeatureAblation,
    Occlusion,
    ShapleyValues,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from captum_ad.engine.masks import all_true
from captum_ad.forward import ADForward, keeping_runs, painter
from captum_ad.painted import BaselineForward

MASKED_FORWARDS = (ADForward, BaselineForward)
"""Forward functions that take ``mask=``."""

MASKING = (FeatureAblation, Occlusion, ShapleyValueSampling, ShapleyValues, LimeBase, Lime, KernelShap)
"""Attributors that hide features, and so can deactivate them."""

NOT_MASKING = (
    FeaturePermutation,
    LayerFeatureAblation,
    LayerFeaturePermutation,
    NeuronFeatureAblation,
    DataLoaderAttribution,
)
"""Attributors that perturb otherwise; on an ADForward they would silently run the plain model."""

_originals: dict[tuple[type, str], Callable[..., Any]] = {}


def register() -> None:
    """Let Captum's attributors mask an ADForward. Done by ``import captum_ad``; doing it twice is harmless."""
    for kinds, wrap in ((MASKING, _masked), (NOT_MASKING, _refused)):
        for kind in kinds:
            _replace(kind, "attribute", wrap)
            _replace(kind, "attribute_future", _refused)


def unregister() -> None:
    """Give Captum's classes back their own methods."""
    for (kind, name), original in _originals.items():
        setattr(kind, name, original)
    _originals.clear()


def _replace(kind: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(kind).get(name)
    if original is None or (kind, name) in _originals:
        return
    _originals[kind, name] = original
    method = functools.wraps(original)(wrap(original))
    # Captum calls super().attribute.__wrapped__, past its usage log: that way must be wrapped too.
    quiet = wrap(getattr(original, "__wrapped__", original))
    quiet.__signature__ = inspect.signature(original)  # type: ignore[attr-defined,unused-ignore]
    method.__wrapped__ = quiet
    setattr(kind, name, method)


def _masked(original: Callable[..., Any]) -> Callable[..., Any]:
    def attribute(self: Attribution, *args: Any, **kwargs: Any) -> Any:
        kind = masked_forward_name(self.forward_func)
        if kind is None:
            return _painting(original, self, *args, **kwargs)
        call = inspect.signature(original).bind(self, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        if call.pop("baselines", None) is not None:
            raise ValueError(
                f"{type(self).__name__} got baselines together with {kind}, which needs none: AD switches activations "
                "off and paints nothing, a BaselineForward has its own. Leave baselines out, or pass the plain model."
            )
        inputs = call.pop("inputs")
        images = inputs if isinstance(inputs, tuple) else (inputs,)
        if not all(isinstance(image, Tensor) for image in images):
            raise TypeError(f"inputs must be a tensor or a tuple of tensors, got {type(inputs).__name__}")
        ones = tuple(torch.ones_like(x, dtype=x.dtype if x.is_floating_point() else torch.float32) for x in images)
        more = call.pop("additional_forward_args", None)
        call.pop("self")
        masking = copy.copy(self)
        masking.forward_func = _MaskForward(self.forward_func, len(images))
        alone = all(image.shape[:1] == (1,) for image in images)
        with keeping_runs():
            return original(
                masking,
                inputs=ones if isinstance(inputs, tuple) else ones[0],
                additional_forward_args=(tuple(map(_Image, images)) if alone else images)
                + (() if more is None else more if isinstance(more, tuple) else (more,)),
                **call,
            )

    return attribute


def _refused(original: Callable[..., Any]) -> Callable[..., Any]:
    def attribute(self: Attribution, *args: Any, **kwargs: Any) -> Any:
        kind = masked_forward_name(self.forward_func)
        if kind is not None:
            names = ", ".join(kind.__name__ for kind in MASKING)
            raise ValueError(
                f"{type(self).__name__}.{original.__name__} cannot mask features, so it would run {kind} as the "
                f"plain model. Pass the plain model, or use attribute() of one of {names}."
            )
        return original(self, *args, **kwargs)

    return attribute


def _painting(original: Callable[..., Any], self: Attribution, *args: Any, **kwargs: Any) -> Any:
    """Captum's own way; but nobody said what to paint, so that an ADForward in a function around it is a mistake."""
    call = inspect.signature(original).bind_partial(self, *args, **kwargs)
    call.apply_defaults()
    if call.arguments.get("baselines", 0) is not None:
        return original(self, *args, **kwargs)
    token = painter.set(type(self).__name__)
    try:
        return original(self, *args, **kwargs)
    finally:
        painter.reset(token)


@dataclass(frozen=True)
class _Image:
    """One image, shape (1, C, *spatial), of which Captum makes no copies, as it does of tensors."""

    values: Tensor

    def for_mask(self, kept: Tensor) -> Tensor:
        """It once per sample of a mask; copies where all is kept: the model may write into what it then gets."""
        copies = len(kept), *(1,) * (self.values.dim() - 1)
        return self.values.repeat(copies) if all_true(kept) else self.values.expand(len(kept), *self.values.shape[1:])


class _MaskForward:
    """The forward function that Captum gets: (painted ones, images, additional arguments) → output."""

    def __init__(self, forward: Callable[..., Tensor], count: int) -> None:
        self.forward = forward
        self.count = count

    def __call__(self, *args: Any) -> Tensor:
        painted, rest = args[: self.count], args[self.count :]
        masks = []
        for values in painted:
            kept = values.bool()
            if not torch.equal(kept, values == 1):
                raise ValueError(
                    "with an ADForward or BaselineForward, perturbing functions get a mask of ones in place of the "
                    "input and may only set features of it to 0 (deactivate); they wrote other values"
                )
            masks.append(kept)
        images = [x.for_mask(kept) if isinstance(x, _Image) else x for x, kept in zip(rest, masks)]
        return self.forward(*images, *rest[self.count :], mask=tuple(masks) + (None,) * (len(rest) - self.count))


def masked_forward_name(forward: Any) -> str | None:
    """What a forward function is, in words, if it takes masks: itself, a bound method, a partial call, parallel copies.

    Raises
    ------
    ValueError
        If it is a module with such a forward buried inside, which passes no masks on to it.
    """
    while isinstance(forward, functools.partial):
        forward = forward.func
    if isinstance(forward, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        forward = forward.module
    owner = getattr(forward, "__self__", forward)
    if isinstance(owner, MASKED_FORWARDS):
        return _with_article(owner)
    modules = owner.modules() if isinstance(owner, nn.Module) else ()
    buried = next((module for module in modules if isinstance(module, MASKED_FORWARDS)), None)
    if buried is not None:
        raise ValueError(
            f"{type(owner).__name__} has {_with_article(buried)} inside, which gets no mask there: it would be painted "
            f"like any model. Put it outermost, e.g. {type(buried).__name__}(nn.Sequential(model, nn.Softmax(1)))."
        )
    return None


def _with_article(forward: nn.Module) -> str:
    name = type(forward).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
