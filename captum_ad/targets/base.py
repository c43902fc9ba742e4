"""What all targets have in common."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

_NAMES = ("logits", "out")
"""What Hugging Face, and torchvision's segmentation models, call the output that counts."""


@dataclass(frozen=True)
class Given:
    """What a model was given.

    Attributes
    ----------
    inputs : tuple
        Its positional arguments, or what was masked among those by name.
    masks : tuple of (Tensor or None)
        Of each input, bool, True = there, shape (1|N, 1|C, *spatial); None where all is there.
    """

    inputs: tuple[Any, ...]
    masks: tuple[Tensor | None, ...] = ()


class Target(ABC):
    """What is explained. Derive from it for a question of your own: two methods will do.

    A forward hands the model's output to :meth:`readout`, and what that returns to the other methods. Where the
    question depends on the answer to the whole input, :attr:`needs_whole` says so and :meth:`bound` gives the
    target that knows it.

    Examples
    --------
    >>> class Brightness(Target):
    ...     def score(self, readout):
    ...         return readout.mean((1, 2, 3))
    ...     def kept(self, readout):
    ...         return self.score(readout) > 0.5
    >>> from captum_ad import BaselineForward
    >>> BaselineForward(torch.nn.Identity().eval(), 0.0, target=Brightness())(torch.ones(2, 1, 3, 3))
    tensor([1., 1.])
    """

    graded: ClassVar[bool] = True
    """Whether γ times the whole input's confidence is a threshold that means something."""

    instead: ClassVar[str] = "explain what the model does answer"
    """What a person may do where this is not the model's answer for the whole input."""

    @property
    def needs_whole(self) -> bool:
        """Whether the answer to the whole input has to be known first."""
        return False

    @property
    def score_needs_whole(self) -> bool:
        """Whether :meth:`score` does, too, and not :meth:`kept` alone."""
        return self.needs_whole

    @property
    def checks_whole(self) -> bool:
        """Whether :meth:`bound` refuses an input that it does not apply to, so that it is worth a forward."""
        return self.needs_whole

    @property
    def decides(self) -> bool:
        """Whether :meth:`kept` says something: of a number without a threshold nobody knows."""
        return True

    def readout(self, output: Any, given: Given) -> Any:
        """What the other methods need of a model's output.

        Parameters
        ----------
        output : Any
            Whatever the model returned, or what ``select`` picked of it.
        given : Given
            What the model was given.

        Returns
        -------
        Any
            By default the tensor in it, see :func:`tensor_of`.
        """
        return tensor_of(output)

    def bound(self, whole: Any) -> Target:
        """The target that knows the readout of the whole input, of one sample or as many as will be scored."""
        return self

    @abstractmethod
    def score(self, readout: Any) -> Tensor:
        """What attributors explain, shape (N,): a class's logit, an age in years."""

    def confidence(self, readout: Any) -> Tensor:
        """What metrics, CausalResponsibility and Rise look at, shape (N,): a probability where there is one."""
        return self.score(readout)

    @abstractmethod
    def kept(self, readout: Any) -> Tensor:
        """Whether the answer is still the same, bool, shape (N,)."""


def tensor_of(output: Any) -> Tensor:
    """The tensor of a model's output.

    Parameters
    ----------
    output : Any
        A tensor; an object or dict with ``logits`` or ``out``; a tuple, list or dict with one tensor only.

    Raises
    ------
    TypeError
        If it is nothing of that kind.

    Examples
    --------
    >>> tensor_of({"logits": torch.ones(1, 2), "loss": torch.zeros(())})
    tensor([[1., 1.]])
    """
    if isinstance(output, Tensor):
        return output
    for name in _NAMES:
        found = part_of(output, name)
        if found is not None:
            return found
    held = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(held, Sequence) and not isinstance(held, str):
        tensors = [one for one in held if isinstance(one, Tensor)]
        if len(tensors) == 1:
            return tensors[0]
    if isinstance(held, Sequence) and any(isinstance(one, Mapping) and "boxes" in one for one in held):
        raise TypeError(
            "the model returned boxes, as a detector: say which of its objects to explain, in the forward, "
            "ADForward(model, target=captum_ad.targets.Detection(box, label))"
        )
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise TypeError(
        f"the model returned {type(output).__name__}{keys}, of which the tensor to explain is not plain: give "
        "the forward select=, its name or number or a function that picks it, e.g. select=0"
    )


def selected_part(output: Any, select: str | int) -> Any:
    """A part of a model's output, by its name or number.

    Raises
    ------
    TypeError
        If there is none.
    """
    try:
        if isinstance(select, str) and not isinstance(output, Mapping):
            return getattr(output, select)
        return output[select]
    except (KeyError, IndexError, AttributeError, TypeError):
        has = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise TypeError(
            f"select={select!r}: the model returned {type(output).__name__}{has}, which has no such part"
        ) from None


def part_of(output: Any, name: str) -> Tensor | None:
    """The tensor of that name in a dict or an object, if there is one."""
    found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    return found if isinstance(found, Tensor) else None


def matrix(readout: Tensor, who: str, least: int = 1) -> Tensor:
    """An output (N, classes), or (N,) as a column, in float32 at least.

    Raises
    ------
    ValueError
        If it has another shape, or fewer columns.
    """
    if not isinstance(readout, Tensor):
        raise TypeError(f"the model returned {type(readout).__name__}, expected a tensor: wrap it, or use select=")
    shaped = readout[:, None] if readout.dim() == 1 else readout
    if shaped.dim() != 2 or shaped.shape[1] < least:
        expected = "two at least" if least == 2 else "one at least"
        hint = ""
        if shaped.dim() > 2:
            hint = "; for maps of classes say which part, captum_ad.targets.Region(class)"
        elif least == 2:
            hint = "; for one logit say captum_ad.targets.Binary(), for a number Regression(tolerance=...)"
        raise ValueError(
            f"{who}: the model returned shape {tuple(readout.shape)}, expected (N, classes), {expected}{hint}"
        )
    return shaped.float() if shaped.dtype in (torch.float16, torch.bfloat16) else shaped


def column(outputs: Tensor, index: int) -> Tensor:
    """One class's outputs of (N, classes, ...), shape (N, ...).

    Raises
    ------
    ValueError
        If there is none of that number.
    """
    if not 0 <= index < outputs.shape[1]:
        raise ValueError(f"target {index} is out of range: the model has classes 0 to {outputs.shape[1] - 1}")
    return outputs[:, index]


def others(outputs: Tensor, index: int) -> Tensor:
    """The largest output of any other class, of two or more, shape (N, ...)."""
    return torch.cat([outputs[:, :index], outputs[:, index + 1 :]], 1).amax(1)


def as_many(known: Tensor, count: int, who: str) -> Tensor:
    """What is known of the whole input, if it is one's or that of as many samples as are scored now.

    Raises
    ------
    ValueError
        If it is that of others.
    """
    if len(known) not in (1, count):
        raise ValueError(
            f"{who} knows the answers to {len(known)} inputs, and {count} are scored now: bind it to one input, or to "
            "as many as are scored together; under gradients explain one input at a time"
        )
    return known


def between(value: Any, name: str, low: float, high: float = math.inf) -> float:
    """A number from `low` to `high`.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= float(value) <= high:
        expected = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
        raise ValueError(f"{name} must be a number {expected}, got {value!r}")
    return float(value)


def share(value: Any, name: str) -> float:
    """A number from 0 to 1.

    Raises
    ------
    ValueError
        If it is none.
    """
    return between(value, name, 0, 1)
