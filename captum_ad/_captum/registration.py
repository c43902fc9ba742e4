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
from contextlib import nullcontext
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
    PerturbationAttribution,
    ShapleyValues,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from captum_ad._captum.perturbing import Image, MaskForward, warn_of_lone_values, without_mask, without_partial
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.answers import refuse_both, with_article
from captum_ad._forwards.arguments import as_tuple
from captum_ad._forwards.baseline_forward import BaselineForward
from captum_ad._forwards.guard import originals, painter, refuse_unbound
from captum_ad._forwards.keeping import keeping_runs
from captum_ad.targets.base import Target

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

_own: list[type] = []


def register_captum(*kinds: type[PerturbationAttribution]) -> None:
    """Let Captum's attributors mask an ADForward. Done by ``import captum_ad``; doing it twice is harmless.

    Parameters
    ----------
    *kinds : type
        Attributors of your own as well. Each must have Captum's arguments ``inputs`` and ``additional_forward_args``,
        write 0 into the features that it hides where no ``baselines`` are given, and look at no values of its inputs:
        it gets a tensor of ones in their place. One that hands everything on to an attributor that is known
        here needs no registration; an attributor that is neither raises an error on an ADForward.

    Raises
    ------
    TypeError
        If one is not a perturbation attributor with these arguments.
    """
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, PerturbationAttribution):
            raise TypeError(f"expected a subclass of captum.attr.PerturbationAttribution, got {kind!r}")
        absent = {"inputs", "additional_forward_args"} - set(inspect.signature(kind.attribute).parameters)
        if "attribute" in vars(kind) and absent:
            raise TypeError(
                f"{kind.__name__}.attribute has no {' and no '.join(sorted(absent))}, by which images reach an "
                "ADForward: give it Captum's arguments, or call the ADForward with mask= in it"
            )
    _own.extend(kind for kind in kinds if kind not in _own)
    for kind in (*MASKING, *_own):
        _replace(kind, "attribute", _masked)
        if "inputs" in inspect.signature(getattr(kind, "attribute_future", register_captum)).parameters:
            _replace(kind, "attribute_future", functools.partial(_masked, future=True))
    for kind in NOT_MASKING:
        _replace(kind, "attribute", _refused)
        _replace(kind, "attribute_future", _refused)


def unregister_captum() -> None:
    """Give Captum's classes back their own methods."""
    for (kind, name), original in originals.items():
        setattr(kind, name, original)
    originals.clear()


def _replace(kind: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(kind).get(name)
    if original is None or (kind, name) in originals:
        return
    originals[kind, name] = original
    method = functools.wraps(original)(wrap(original))
    # Captum calls super().attribute.__wrapped__, past its usage log: that way must be wrapped too.
    quiet = wrap(getattr(original, "__wrapped__", original))
    quiet.__signature__ = inspect.signature(original)  # type: ignore[attr-defined,unused-ignore]
    method.__wrapped__ = quiet
    setattr(kind, name, method)


def _masked(original: Callable[..., Any], *, future: bool = False) -> Callable[..., Any]:
    def attribute(self: Attribution, *args: Any, **kwargs: Any) -> Any:
        kind = masked_forward_name(self.forward_func)
        if kind is None:
            return _painting(original, self, *args, **kwargs)
        call = inspect.signature(original).bind(self, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        who = type(self).__name__
        if call.pop("baselines", None) is not None:
            raise ValueError(
                f"{who} got baselines together with {kind}, which needs none: AD switches activations "
                "off and paints nothing, a BaselineForward has its own. Leave baselines out, or pass the plain model."
            )
        inputs = call.pop("inputs")
        images = inputs if isinstance(inputs, tuple) else (inputs,)
        if not all(isinstance(image, Tensor) for image in images):
            raise TypeError(f"inputs must be a tensor or a tuple of tensors, got {type(inputs).__name__}")
        _refuse_misfit(call.get("feature_mask"), images, who)
        if "ADForward" in kind and not isinstance(self, LimeBase) | isinstance(self, Lime):
            windows = {"sliding_window_shapes": None} if isinstance(self, Occlusion) else {}
            warn_of_lone_values(who, self.forward_func, images, {**windows, **call})
        ones = tuple(torch.ones_like(x, dtype=x.dtype if x.is_floating_point() else torch.float32) for x in images)
        more = as_tuple(call.pop("additional_forward_args", None))
        call.pop("self")
        if isinstance(call.get("target"), Target):
            raise TypeError(
                f"{who} takes class indices as its target: give {call['target']!r} to the forward, "
                "ADForward(model, target=...)"
            )
        forward, own = without_mask(self.forward_func, images)
        refuse_both(getattr(without_partial(forward), "target", None), call.get("target"), who)
        alone = all(image.shape[:1] == (1,) for image in images)
        if isinstance(forward, MASKED_FORWARDS) and forward.target is not None:
            if forward.target.score_needs_whole:
                refuse_unbound(forward.target)  # under NoiseTunnel these images are not the whole one
            if alone or not forward.target.needs_whole:
                forward = forward.bound(*images, *more)  # once, not in each of its forwards
        masking = copy.copy(self)
        masking.forward_func = MaskForward(
            forward, len(images), own=own is not None, target=call.get("target"), future=future
        )
        carried = (*images, *(own or ()))
        device = images[0].device
        # Captum 0.9 makes windows of several inputs on the CPU and stacks them with those on the inputs' device.
        elsewhere = isinstance(self, Occlusion) and len(images) > 1 and device.type != "cpu"
        with device if elsewhere else nullcontext(), keeping_runs():
            return original(
                masking,
                inputs=ones if isinstance(inputs, tuple) else ones[0],
                additional_forward_args=(*(map(Image, carried) if alone else carried), *more),
                **call,
            )

    return attribute


def _refuse_misfit(feature_mask: Any, images: tuple[Tensor, ...], who: str) -> None:
    """Captum never hides inputs for which a tuple of feature masks has no entry, and says nothing."""
    if feature_mask is None:
        return
    given = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
    if len(given) != len(images):
        raise ValueError(
            f"{who} got {len(given)} feature mask(s) for {len(images)} inputs: give a tuple with one for each"
        )
    for x, labels in zip(images, given):
        spatial = tuple(x.shape[2:])
        shape = tuple(labels.shape) if isinstance(labels, Tensor) else ()
        misfit = any(n not in (1, m) for n, m in zip(reversed(shape), reversed(spatial)))
        if len(shape) > x.dim() or (spatial and misfit):
            raise ValueError(
                f"{who}: the feature mask has shape {shape} and the input {tuple(x.shape)}. It has to be of the "
                "model's own input, captum_ad.segmentation.superpixels(x), not of the photograph in its own size"
            )


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
        return with_article(owner)
    modules = owner.modules() if isinstance(owner, nn.Module) else ()
    buried = next((module for module in modules if isinstance(module, MASKED_FORWARDS)), None)
    if buried is not None:
        raise ValueError(
            f"{type(owner).__name__} has {with_article(buried)} inside, which gets no mask there: it would be painted "
            f"like any model. Put it outermost, e.g. {type(buried).__name__}(nn.Sequential(model, nn.Softmax(1)))."
        )
    return None
