"""Captum's attributors on an ADForward or BaselineForward: they perturb a mask, and the image stays as it is.

Captum replaces features of its input by baselines and calls the forward function. Here it gets a tensor
of ones as its input and paints zeros into it, which makes exactly the mask. The image is passed as an
additional argument. Only `attribute` is wrapped, and no private API is used.
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

from captum_ad._captum.perturbing import (
    Image,
    MaskForward,
    OneForAllError,
    warn_of_lone_values,
    without_mask,
    without_partial,
)
from captum_ad._common.batches import perturbations_that_fit
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
"""Attributors that perturb differently. On an ADForward they would silently run the plain model."""

_own: list[type] = []


def register_captum(*kinds: type[PerturbationAttribution]) -> None:
    """Let Captum's attributors mask an ADForward. ``import captum_ad`` does it; calling it again is harmless.

    Parameters
    ----------
    *kinds : type
        Your own attributors. Each must have Captum's arguments ``inputs`` and ``additional_forward_args``,
        write 0 into hidden features if no ``baselines`` are given, and not use the values of its inputs,
        because it gets a tensor of ones instead. An attributor that only calls registered ones
        needs no registration; any other raises an error on an ADForward.

    Raises
    ------
    TypeError
        If a class is not a perturbation attributor with these arguments.
    """
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, PerturbationAttribution):
            raise TypeError(f"expected a subclass of captum.attr.PerturbationAttribution, got {kind!r}")
        absent = {"inputs", "additional_forward_args"} - set(inspect.signature(kind.attribute).parameters)
        if "attribute" in vars(kind) and absent:
            raise TypeError(
                f"{kind.__name__}.attribute has no {' and no '.join(sorted(absent))}, which an ADForward needs to get "
                "the images: give it Captum's arguments, or let it call the ADForward with mask="
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
    """Undo :func:`register_captum`: restore the original methods of Captum's classes."""
    for (kind, name), original in originals.items():
        setattr(kind, name, original)
    originals.clear()


def _replace(kind: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = vars(kind).get(name)
    if original is None or (kind, name) in originals:
        return
    originals[kind, name] = original
    method = functools.wraps(original)(wrap(original))
    # Captum also calls super().attribute.__wrapped__, to bypass its usage log, so wrap that too.
    quiet = wrap(getattr(original, "__wrapped__", original))
    quiet.__signature__ = inspect.signature(original)  # type: ignore[attr-defined,unused-ignore]
    method.__wrapped__ = quiet
    setattr(kind, name, method)


def _masked(original: Callable[..., Any], *, future: bool = False) -> Callable[..., Any]:
    def attribute(self: Attribution, *args: Any, **kwargs: Any) -> Any:
        kind = masked_forward_name(self.forward_func)
        if kind is None:
            return _painting(original, self, *args, **kwargs)
        signature = inspect.signature(original)
        call = signature.bind(self, *args, **kwargs).arguments
        call.update(call.pop("kwargs", {}))
        who = type(self).__name__
        if call.pop("baselines", None) is not None:
            raise ValueError(
                f"{who} got baselines together with {kind}, which needs none: an ADForward paints nothing, and a "
                "BaselineForward has its own baseline. Leave baselines out, or pass the plain model."
            )
        inputs = call.pop("inputs")
        images = inputs if isinstance(inputs, tuple) else (inputs,)
        if not all(isinstance(image, Tensor) for image in images):
            raise TypeError(f"inputs must be a tensor or a tuple of tensors, got {type(inputs).__name__}")
        if call.get("feature_mask") is not None:
            call["feature_mask"] = _labels(call["feature_mask"], images, who)
        if "ADForward" in kind and (isinstance(self, Lime) or not isinstance(self, LimeBase)):
            windows = {"sliding_window_shapes": None} if isinstance(self, Occlusion) else {}
            warn_of_lone_values(who, self.forward_func, images, {**windows, **call})
        ones = tuple(torch.ones_like(x, dtype=x.dtype if x.is_floating_point() else torch.float32) for x in images)
        more = as_tuple(call.pop("additional_forward_args", None))
        call.pop("self")
        if isinstance(call.get("target"), Target):
            raise TypeError(
                f"{who} takes only class indices as its target: pass {call['target']!r} to the forward, "
                "ADForward(model, target=...)"
            )
        forward, own = without_mask(self.forward_func, images)
        refuse_both(getattr(without_partial(forward), "target", None), call.get("target"), who)
        alone = all(image.shape[:1] == (1,) for image in images)
        if isinstance(forward, MASKED_FORWARDS) and forward.target is not None:
            if forward.target.score_needs_whole:
                refuse_unbound(forward.target)  # NoiseTunnel's images are not the whole input
            if alone or not forward.target.needs_whole:
                forward = forward.bound(*images, *more)  # once, not in every forward
        masking = copy.copy(self)
        carried = (*images, *(own or ()))
        device = images[0].device
        # With several inputs, Captum 0.9 stacks windows on the CPU with ones on the inputs' device.
        elsewhere = isinstance(self, Occlusion) and len(images) > 1 and device.type != "cpu"

        masks = functools.partial(
            MaskForward, forward, len(images), own=own is not None, target=call.get("target"), future=future
        )

        def run(batch: int | None) -> Any:
            masking.forward_func = masks(by_sample=batch is not None)
            options = {} if batch is None else {"perturbations_per_eval": batch}
            with device if elsewhere else nullcontext(), keeping_runs():
                return original(
                    masking,
                    inputs=ones if isinstance(inputs, tuple) else ones[0],
                    additional_forward_args=(*(map(Image, carried) if alone else carried), *more),
                    **call,
                    **options,
                )

        one_by_one = signature.parameters.get("perturbations_per_eval")
        batch = perturbations_that_fit(images)
        if not alone and getattr(without_partial(forward), "target", None) is not None:
            batch = 1  # the target may know the answer to each of these samples, and not to copies of them
        if batch == 1 or future or one_by_one is None or one_by_one.name in call:
            return run(None)
        state = torch.get_rng_state()
        try:
            return run(batch)
        except OneForAllError:
            torch.set_rng_state(state)  # Lime draws its samples as if nothing had been run
            return run(None)

    return attribute


def _labels(feature_mask: Any, images: tuple[Tensor, ...], who: str) -> Any:
    """Check feature masks; return them as int64, which Captum can index with, and with all dimensions of the inputs.

    Captum silently never hides an input that has no entry in their tuple.
    """
    given = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
    if len(given) != len(images):
        raise ValueError(
            f"{who} got {len(given)} feature mask(s) for {len(images)} input(s): give a tuple with one per input"
        )
    for x, labels in zip(images, given):
        if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
            what = f"a tensor of {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
            raise TypeError(
                f"{who}: feature_mask is {what}, expected a tensor of integers, the same number at all positions of a "
                "feature, as captum_ad.segmentation.superpixels(x) makes it"
            )
        spatial, shape = tuple(x.shape[2:]), tuple(labels.shape)
        misfit = any(n not in (1, m) for n, m in zip(reversed(shape), reversed(spatial)))
        if len(shape) > x.dim() or (spatial and misfit):
            raise ValueError(
                f"{who}: the feature mask has shape {shape} but the input {tuple(x.shape)}: make the mask from the "
                "model's input, captum_ad.segmentation.superpixels(x), not from the original photograph"
            )
    # Captum mixes up features and channels in batches of perturbations if a mask has fewer dimensions than its input.
    whole = tuple(
        labels.long().reshape((1,) * (x.dim() - labels.dim()) + tuple(labels.shape)).contiguous()
        for x, labels in zip(images, given)
    )
    return whole if isinstance(feature_mask, tuple) else whole[0]


def _refused(original: Callable[..., Any]) -> Callable[..., Any]:
    def attribute(self: Attribution, *args: Any, **kwargs: Any) -> Any:
        kind = masked_forward_name(self.forward_func)
        if kind is not None:
            names = ", ".join(kind.__name__ for kind in MASKING)
            raise ValueError(
                f"{type(self).__name__}.{original.__name__} cannot mask features, so it would run {kind} like the "
                f"plain model: pass the plain model, or use attribute() of one of {names}"
            )
        return original(self, *args, **kwargs)

    return attribute


def _painting(original: Callable[..., Any], self: Attribution, *args: Any, **kwargs: Any) -> Any:
    """Captum's own method. Without baselines, a function that wraps an ADForward is a mistake and raises an error."""
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
    """Describe a forward that takes masks, e.g. "an ADForward", also inside a method, partial call, or DataParallel.

    Raises
    ------
    ValueError
        If it is a module that contains such a forward but does not pass masks to it.
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
        kind = type(buried).__name__
        instead = f"put it outermost, e.g. {kind}(nn.Sequential(model, nn.Softmax(1)))"
        if getattr(owner, "_orig_mod", None) is buried:
            instead = f"instead of torch.compile, call .compile() of the {kind}, and pass the {kind} itself"
        raise ValueError(
            f"{type(owner).__name__} contains {with_article(buried)}, which would get no mask and be painted "
            f"like any model: {instead}"
        )
    return None
