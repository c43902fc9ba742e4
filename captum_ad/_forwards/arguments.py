"""The arguments of a forward: inputs that can have masks, given by position or by name, and all others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Arranged:
    """The arguments of a call of a model.

    Attributes
    ----------
    inputs : tuple
        The inputs, which can have masks.
    masks : tuple of (Tensor or None)
        The mask of each input, as given.
    names : tuple of str
        The names of the inputs, if they were given by name; else empty.
    more : mapping
        The other arguments by name.
    """

    inputs: tuple[Any, ...]
    masks: tuple[Tensor | None, ...]
    names: tuple[str, ...]
    more: Mapping[str, Any]

    def call(self, model: nn.Module, inputs: Sequence[Any]) -> Any:
        """Call the model with these values for the inputs, and the same other arguments."""
        if self.names:
            return model(**dict(zip(self.names, inputs)), **self.more)
        try:
            return model(*inputs, **self.more)
        except TypeError as error:
            if len(inputs) > 1 and not _takes(model, len(inputs), self.more):
                raise TypeError(f"{error}. Give a mask by name: ad(x, mask=mask)") from error
            raise


def arrange(inputs: tuple[Any, ...], mask: Any, named: Mapping[str, Any]) -> Arranged:
    """Assign masks to inputs.

    Parameters
    ----------
    inputs : tuple
        The positional arguments.
    mask : Tensor, tuple or mapping, optional
        The mask of the first input, one mask per input, or masks by the names of their inputs.
    named : mapping
        The keyword arguments. If there are no positional ones, the first tensor among them is the input.

    Raises
    ------
    ValueError, TypeError
        If masks and inputs do not match.
    """
    if isinstance(mask, Mapping):
        unknown = [name for name in mask if name not in named]
        if unknown:
            raise ValueError(f"there is a mask for {unknown[0]!r}, but no input of that name: pass it by name too")
        more = {name: value for name, value in named.items() if name not in mask}
        values = tuple(named[name] for name in mask)
        if inputs and mask:
            raise ValueError("masks by name need inputs by name: pass all inputs by name, or a tuple of masks")
        return Arranged(values, tuple(mask.values()), tuple(mask), more)
    if not inputs and not isinstance(mask, tuple):
        name = next((name for name, value in named.items() if isinstance(value, Tensor)), None)
        if name is None and mask is not None:
            raise ValueError("a mask was given without an input: pass one, ad(x, mask=mask), or by its name")
        if name is None:
            return Arranged((), (), (), named)
        more = {other: value for other, value in named.items() if other != name}
        return Arranged((named[name],), (_checked(mask),), (name,), more)
    if isinstance(mask, tuple):
        if len(mask) != len(inputs):
            raise ValueError(f"mask is a tuple of {len(mask)} for {len(inputs)} inputs: give a mask or None for each")
        return Arranged(inputs, mask, (), named)
    return Arranged(inputs, (_checked(mask), *(None for _ in inputs[1:])) if inputs else (), (), named)


def as_tuple(additional_forward_args: Any) -> tuple[Any, ...]:
    """Captum's ``additional_forward_args`` as a tuple; they may be None, a single argument, or a tuple."""
    if additional_forward_args is None:
        return ()
    return additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)


def as_features(x: Tensor) -> Tensor:
    """An input that can be masked: integers are converted to floating point."""
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def _checked(mask: Any) -> Tensor | None:
    if mask is not None and not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a Tensor, a tuple of tensors or a dict of them, got {type(mask).__name__}")
    return mask


def _takes(model: nn.Module, count: int, named: Mapping[str, Any]) -> bool:
    """Whether a model's forward accepts `count` positional arguments with these keywords; True if that is unknown."""
    try:
        inspect.signature(model.forward).bind(*range(count), **named)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
