"""From a model's output to a target's score: the code that ADForward and BaselineForward share."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from captum_ad._forwards.guard import on_purpose, refuse_unbound
from captum_ad.targets.base import Given, Target, selected_part, tensor_of

Select = str | int | Callable[[Any], Any]
"""The part of a model's output to use: its name, its index, or a function of the output."""

Masks = Tensor | tuple[Tensor | None, ...] | Mapping[str, Tensor] | None

Self = TypeVar("Self", bound="Answering")


class Answering(nn.Module, ABC):
    """A forward with a target: it returns one score per sample, and metrics ask its target whether the answer is kept.

    Attributes
    ----------
    model : nn.Module
        The plain model.
    select : str, int or callable, optional
        The part of its output to use.
    target : Target, optional
        What is explained.
    """

    model: nn.Module
    select: Select | None
    target: Target | None

    def _asks(self, select: Select | None, target: Target | None) -> None:
        if select is not None and not isinstance(select, (str, int)) and not callable(select):
            raise TypeError(
                f"select must be a name, an index or a function of the model's output, got {type(select).__name__}"
            )
        if target is not None and not isinstance(target, Target):
            raise TypeError(
                f"target must be one of captum_ad.targets, e.g. Class({target!r}), got {type(target).__name__}; "
                "give a class index to the attributor instead, attribute(x, target=3)"
            )
        self.select, self.target = select, target

    def with_target(self: Self, target: Target | None) -> Self:
        """The same forward, around the same model, with another target."""
        asked = copy.copy(self)
        asked.target = target
        return asked

    def bound(self: Self, *inputs: Any, **kwargs: Any) -> Self:
        """The same forward with its target bound to the answer to these whole inputs.

        The metrics, and Captum's attributors that hide features, do this by themselves. Give a bound forward to
        attributors that follow gradients.

        Raises
        ------
        ValueError
            If the target does not apply to these inputs, such as a region or an object that is not there.
        """
        if self.target is None or not self.target.checks_whole:
            return self
        alike = bool(inputs) and all(isinstance(x, Tensor) and x.dim() and x.stride(0) == 0 for x in inputs)
        alike = alike and not any(isinstance(value, Tensor) for value in kwargs.values())
        whole = [x[:1].clone() for x in inputs] if alike else inputs  # run one image that was expanded only once
        with torch.no_grad(), on_purpose():
            return self.with_target(self.target.bound(self.outputs(*whole, **kwargs)))

    def around(self: Self, model: nn.Module) -> Self:
        """The same forward around another model."""
        other = copy.copy(self)
        other._modules = {**self._modules, "model": model}
        return other

    @abstractmethod
    def outputs(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Any:
        """What the target reads off the model's output, usually a tensor of logits; without a target, the output."""

    def _score(self, readout: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """One score per sample of a readout, or the output itself if there is no target."""
        target = self.target
        if target is not None and target.score_needs_whole:
            refuse_unbound(target)
            target = self.bound(*inputs, **kwargs).target
        if target is None:
            found: Tensor = readout
            return found
        return target.score(readout)

    def _selected(self, output: Any) -> Any:
        """The selected part of a model's output: a tensor, unless the target reads more than one."""
        select = self.select
        if callable(select):
            picked = select(output)
        elif select is None:
            picked = output
        else:
            picked = selected_part(output, select)
        return picked if self.takes_whole else tensor_of(picked)

    @property
    def takes_whole(self) -> bool:
        """Whether the target reads more than one tensor of the output."""
        return self.target is not None and type(self.target).readout is not Target.readout

    def _read(self, picked: Any, inputs: tuple[Any, ...], masks: Sequence[Any] = ()) -> Any:
        """What the target reads off the selected part of the output."""
        return picked if self.target is None else self.target.readout(picked, Given(inputs, tuple(masks)))


def plain_module(model: Any) -> nn.Module:
    """The model, after a check that a forward can wrap it.

    Raises
    ------
    TypeError
        If it is not a module, or is already such a forward.
    """
    if isinstance(model, Answering):
        raise TypeError(f"the model is already {with_article(model)}: wrap its .model")
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}; wrap your function in a module")
    return model


def with_article(forward: nn.Module) -> str:
    """The name of a forward's class, with "a" or "an"."""
    name = type(forward).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def refuse_both(own: Target | None, asked: Any, who: str = "") -> None:
    """Refuse a call with a target if its forward has one too.

    Raises
    ------
    ValueError
        If both are given.
    """
    if own is not None and asked is not None:
        prefix = f"{who}: " if who else ""
        raise ValueError(f"{prefix}the forward has target {own!r} and the call {asked!r}: leave one of them out")
