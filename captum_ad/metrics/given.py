"""Check the arguments of a comparison: images, methods and maskings by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from captum_ad._common.errors import UnknownNameError
from captum_ad._forwards.baseline_forward import MaskedForward
from captum_ad._methods import METHODS
from captum_ad._scoring import one_input

Method = str | Callable[[MaskedForward, Tensor, Any], Tensor]
"""A name of :data:`captum_ad._methods.METHODS`, or a function of (forward, x, target)."""


def named_images(
    images: Mapping[str, Tensor] | Sequence[Tensor] | Tensor, model: nn.Module | None = None
) -> dict[str, Tensor]:
    """Inputs of shape (1, C, *spatial) by name. Unnamed inputs are named by their number.

    The batch dimension may be missing: the model's first convolution determines the number of dimensions. Without a
    convolution, inputs are taken as images.

    Raises
    ------
    ValueError, TypeError
        If there are no inputs, one is not a single input, or two names have the same text.
    """
    named = dict(images) if isinstance(images, Mapping) else {str(i): image for i, image in enumerate(images)}
    if not named:
        raise ValueError("got no images, expected at least one")
    convolution = next((one for one in model.modules() if isinstance(one, _ConvNd)), None) if model else None
    spatial_dims = 2 if convolution is None else len(convolution.kernel_size)
    shaped = {}
    for name, image in named.items():
        if not isinstance(image, Tensor):
            raise TypeError(f"image {name!r} is {type(image).__name__}, expected the model's input as a tensor")
        if str(name) in shaped:
            raise ValueError(f"two images have the name {str(name)!r} in files: rename one of them")
        shaped[str(name)] = image[None] if image.dim() == spatial_dims + 1 else image
        one_input(shaped[str(name)])
    return shaped


Given = Tensor | tuple[Any, ...]
"""An input, or a tuple of an input and the model's other arguments."""


def named_inputs(
    images: Mapping[str, Given] | Sequence[Given] | Tensor, model: nn.Module
) -> dict[str, tuple[Tensor, tuple[Any, ...]]]:
    """Inputs as in :func:`named_images`, with the model's other arguments if tuples are given.

    Raises
    ------
    ValueError, TypeError
        As in :func:`named_images`, or if a tuple is empty.
    """
    given = dict(images) if isinstance(images, Mapping) else {str(i): image for i, image in enumerate(images)}
    if any(isinstance(image, tuple) and not image for image in given.values()):
        raise ValueError("an image is an empty tuple: give the input, then the model's other arguments")
    first = {name: image[0] if isinstance(image, tuple) else image for name, image in given.items()}
    others = {str(name): image[1:] if isinstance(image, tuple) else () for name, image in given.items()}
    return {name: (x, others[name]) for name, x in named_images(first, model).items()}


def checked_seed(seed: int) -> int:
    """Check that a seed is an integer of at least 0, and return it.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    return int(seed)


def by_name(given: Sequence[Any] | Mapping[str, Any], what: str) -> dict[str, Any]:
    """Turn a sequence of names, or a mapping, into a dict by name.

    Raises
    ------
    ValueError, TypeError
        If it is empty, or an item of a sequence is not a name.
    """
    if isinstance(given, str):
        raise TypeError(f"expected a list of {what}s, got the string {given!r}: write [{given!r}]")
    if not isinstance(given, Mapping) and not all(isinstance(name, str) for name in given):
        raise TypeError(f"a custom {what} needs a name: give a mapping, e.g. {{'mine': …}}")
    named = dict(given) if isinstance(given, Mapping) else {name: name for name in given}
    if not named:
        raise ValueError(f"got no {what}s, expected at least one")
    return named


def named_methods(given: Sequence[str] | Mapping[str, Method]) -> dict[str, Method]:
    """Methods by name.

    Raises
    ------
    UnknownNameError, TypeError
        If a method is unknown, or is not a function.
    """
    named = by_name(given, "method")
    for method in named.values():
        if isinstance(method, str) and method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        if not isinstance(method, str) and not callable(method):
            raise TypeError(
                f"a method must be a name or a function of (forward, x, target), got {type(method).__name__}"
            )
    return named
