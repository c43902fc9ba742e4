"""The forward function that a perturbing attributor gets instead of an ADForward, and warnings about misuse."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from captum_ad._engine.masks import all_true
from captum_ad._forwards.features import kept_features
from captum_ad._forwards.guard import refuse_positions


@dataclass(frozen=True)
class Image:
    """One image, shape (1, C, *spatial), wrapped because Captum would copy a tensor for every mask."""

    values: Tensor

    def for_mask(self, kept: Tensor) -> Tensor:
        """The image repeated for each mask. Copied only if everything is kept: the model may then write into it."""
        if all_true(kept, wait=True):
            return self.values.repeat(len(kept), *(1,) * (self.values.dim() - 1))
        return self.values.expand(len(kept), *self.values.shape[1:])


class OneForAllError(Exception):
    """The forward returns one value for the whole batch, so that perturbations cannot share a forward."""


class MaskForward:
    """The forward function that Captum gets: (perturbed ones, images, masks of a partial call, more) → output.

    Parameters
    ----------
    forward : callable
        Takes the images, more arguments and ``mask=``.
    count : int
        The number of images.
    own : bool
        Whether masks of a partial call are passed too, one per image.
    target : Any
        The target that Captum was given.
    future : bool
        Whether to return a ``torch.futures.Future``, as Captum's ``attribute_future`` wants it.
    by_sample : bool
        Whether the output must have one row per sample.

    Raises
    ------
    OneForAllError
        If `by_sample`, and the output has no row per sample.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        count: int,
        *,
        own: bool,
        target: Any = None,
        future: bool = False,
        by_sample: bool = False,
    ) -> None:
        self.forward, self.count, self.own, self.target, self.future = forward, count, own, target, future
        self.by_sample = by_sample

    def __call__(self, *args: Any) -> Any:
        """The output for the unchanged images, with the perturbed ones as their masks."""
        painted, rest = args[: self.count], args[self.count :]
        if len(rest) < self.count * (1 + self.own):
            raise ValueError(
                "the attributor called its forward function without additional_forward_args, which hold the image for "
                "an ADForward: pass them on, or call the ADForward yourself with mask="
            )
        masks = []
        for values in painted:
            kept = values.bool()
            if not torch.equal(kept, values == 1):
                raise ValueError(
                    "with an ADForward or BaselineForward, a perturbation function gets a mask of ones instead of the "
                    "input and may only set features to 0 (deactivate), but it wrote other values"
                )
            masks.append(kept)
        images = [x.for_mask(kept) if isinstance(x, Image) else x for x, kept in zip(rest, masks)]
        rest = rest[self.count :]
        if self.own:
            masks = [kept & (own.values if isinstance(own, Image) else own) for kept, own in zip(masks, rest)]
            rest = rest[self.count :]
        output = self.forward(*images, *rest, mask=(*masks, *(None for _ in rest)))
        if self.by_sample and (not isinstance(output, Tensor) or output.shape[:1] != masks[0].shape[:1]):
            raise OneForAllError
        refuse_positions(output, self.target)
        if not self.future:
            return output
        result: torch.futures.Future[Tensor] = torch.futures.Future()
        result.set_result(output)
        return result


def without_mask(forward: Any, images: Sequence[Tensor]) -> tuple[Any, tuple[Tensor, ...] | None]:
    """Split a partial call into the forward without its mask, and the mask for each image, if there is one.

    Parameters
    ----------
    forward : callable
        ``functools.partial(ad, mask=m)``, or any other forward.
    images : sequence of Tensor
        Its inputs, shape (N, C, *spatial).

    Raises
    ------
    ValueError, TypeError
        If the mask does not fit the inputs.
    """
    if not isinstance(forward, functools.partial) or forward.keywords.get("mask") is None:
        return forward, None
    given = forward.keywords["mask"]
    named = {name: value for name, value in forward.keywords.items() if name != "mask"}
    masks = given if isinstance(given, tuple) else (given, *(None for _ in images[1:]))
    if len(masks) < len(images) or any(mask is not None for mask in masks[len(images) :]):
        raise ValueError(
            f"the partial call has a tuple of {len(masks)} masks for {len(images)} inputs: give one (or None) each"
        )
    own = []
    for i, (x, mask) in enumerate(zip(images, masks)):
        if mask is None:
            own.append(
                torch.ones((1,) * x.dim(), dtype=torch.bool, device=x.device).expand(len(x), *(-1,) * (x.dim() - 1))
            )
        else:
            kept = kept_features(x, mask, f"mask of input {i}")
            own.append(kept.expand(len(x), *kept.shape[1:]))
    return functools.partial(forward.func, *forward.args, **named), tuple(own)


def without_partial(forward: Any) -> Any:
    """The module or function behind partial calls and bound methods."""
    while isinstance(forward, functools.partial):
        forward = forward.func
    return getattr(forward, "__self__", forward)


def warn_of_lone_values(who: str, forward: Any, images: Sequence[Tensor], call: Mapping[str, Any]) -> None:
    """Warn if an attributor's features are single values, so that no position is ever fully missing.

    Parameters
    ----------
    who : str
        Name of the attributor.
    forward : callable
        Its forward function. Inputs (N, T) have positions if the network is convolutional or recurrent.
    images : sequence of Tensor
        Its inputs, shape (N, C, *spatial).
    call : mapping
        Its arguments by name.

    Warns
    -----
    UserWarning
        If inputs have several channels and there is no ``feature_mask``, if a window covers only some of the channels,
        or if no input has positions.
    """
    if all(x.dim() < 3 for x in images):
        owner = without_partial(forward)
        if isinstance(owner, nn.Module) and any(isinstance(one, (_ConvNd, nn.RNNBase)) for one in owner.modules()):
            return  # positions of a series
        warnings.warn(
            f"{who}: inputs of shape {', '.join(str(tuple(x.shape)) for x in images)} have no positions, as in (N, C, "
            "*spatial), so AD can do no more than paint zeros",
            stacklevel=3,
        )
        return
    given = call.get("sliding_window_shapes")
    if given is None and call.get("feature_mask") is not None:
        return
    windows = given if isinstance(given, tuple) and given and isinstance(given[0], tuple) else (given,) * len(images)
    for x, window in zip(images, windows):
        channels = x.shape[1] if x.dim() > 2 else 1
        if channels == 1 or (isinstance(window, tuple) and window and window[0] >= channels):
            continue
        if "sliding_window_shapes" in call:
            meant = f"a window over all channels, sliding_window_shapes=({channels}, …)"
        else:
            count, ones = x[0, 0].numel(), ", ".join(["1"] * 2 + [str(n) for n in x.shape[2:]])
            meant = (
                f"feature_mask=torch.arange({count}).reshape({ones}), one feature a position, or superpixels, "
                "captum_ad.segmentation.superpixels(x)"
            )
        warnings.warn(
            f"{who} hides single channels of an input {tuple(x.shape)}, (N, C, *spatial), so no position is ever "
            f"missing, and AD does little more than paint zeros. Did you mean {meant}?",
            stacklevel=3,
        )
        return
