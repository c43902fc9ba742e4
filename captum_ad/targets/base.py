"""The base class of all targets."""

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
"""What Hugging Face and torchvision's segmentation models call their main output."""


@dataclass(frozen=True)
class Given:
    """What a model was given.

    Attributes
    ----------
    inputs : tuple
        Its positional arguments. If there are none, the masked ones among its keyword arguments.
    masks : tuple of (Tensor or None)
        The mask of each input, bool, True = kept, shape (1|N, 1|C, *spatial); None if everything is kept.
    """

    inputs: tuple[Any, ...]
    masks: tuple[Tensor | None, ...] = ()


class Target(ABC):
    """What is explained. Subclass it for your own question: implement :meth:`score` and :meth:`kept`.

    A forward passes the model's output to :meth:`readout`, and its result to the other methods. If the
    question depends on the answer to the whole input, set :attr:`needs_whole` and let :meth:`bound` return a
    target that knows that answer.

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
    """Whether γ times the confidence for the whole input is a meaningful threshold."""

    instead: ClassVar[str] = "explain what the model does answer"
    """Advice for error messages: what to do if this is not the model's answer to the whole input."""

    @property
    def needs_whole(self) -> bool:
        """Whether the target needs the answer to the whole input before it can be used."""
        return False

    @property
    def score_needs_whole(self) -> bool:
        """Whether :meth:`score` needs it too, not only :meth:`kept`."""
        return self.needs_whole

    @property
    def checks_whole(self) -> bool:
        """Whether :meth:`bound` raises an error for unsuitable inputs, so that calling it is worth a forward."""
        return self.needs_whole

    @property
    def decides(self) -> bool:
        """Whether :meth:`kept` is meaningful. It is not for a number without a threshold."""
        return True

    def readout(self, output: Any, given: Given) -> Any:
        """Extract what the other methods need from a model's output.

        Parameters
        ----------
        output : Any
            What the model returned, or what ``select`` picked from it.
        given : Given
            The model's inputs and their masks.

        Returns
        -------
        Any
            By default the tensor in the output, see :func:`tensor_of`.
        """
        return tensor_of(output)

    def bound(self, whole: Any) -> Target:
        """A target that knows the readout of the whole input: of one sample, or of each sample that will be scored."""
        return self

    @abstractmethod
    def score(self, readout: Any) -> Tensor:
        """What attributors explain, shape (N,), e.g. a class's logit or an age in years."""

    def confidence(self, readout: Any) -> Tensor:
        """What metrics, CausalResponsibility and Rise use, shape (N,): a probability if possible, else the score."""
        return self.score(readout)

    @abstractmethod
    def kept(self, readout: Any) -> Tensor:
        """Whether the answer is still the same, bool, shape (N,)."""


def tensor_of(output: Any) -> Tensor:
    """Find the tensor in a model's output.

    Parameters
    ----------
    output : Any
        A tensor; an object or dict with ``logits`` or ``out``; a tuple, list or dict with exactly one tensor.

    Raises
    ------
    TypeError
        If it is none of these.

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
            "the model is a detector, it returned boxes: give the forward the object to explain, "
            "ADForward(model, target=captum_ad.targets.Detection(box, label))"
        )
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise TypeError(
        f"the model returned {type(output).__name__}{keys}, and which tensor in it to explain is ambiguous: give "
        "the forward select=, the tensor's name or index or a function that picks it, e.g. select=0"
    )


def selected_part(output: Any, select: str | int) -> Any:
    """A part of a model's output, by its name or index.

    Raises
    ------
    TypeError
        If the output has no such part.
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
    """The tensor of that name in a dict or an object, or None."""
    found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    return found if isinstance(found, Tensor) else None


def matrix(readout: Tensor, who: str, least: int = 1) -> Tensor:
    """An output as a matrix (N, classes), in float32 or wider. Shape (N,) becomes one column.

    Raises
    ------
    TypeError, ValueError
        If it is not a tensor, has another shape, or fewer than `least` columns.
    """
    if not isinstance(readout, Tensor):
        raise TypeError(f"the model returned {type(readout).__name__}, expected a tensor: wrap it, or use select=")
    shaped = readout[:, None] if readout.dim() == 1 else readout
    if shaped.dim() != 2 or shaped.shape[1] < least:
        expected = "with at least two classes" if least == 2 else "with at least one class"
        hint = ""
        if shaped.dim() > 2:
            hint = ": for class maps, use captum_ad.targets.Region(class)"
        elif least == 2:
            hint = ": for one logit use captum_ad.targets.Binary(), for a number Regression(tolerance=...)"
        raise ValueError(
            f"{who}: the model returned shape {tuple(readout.shape)}, expected (N, classes) {expected}{hint}"
        )
    return shaped.float() if shaped.dtype in (torch.float16, torch.bfloat16) else shaped


def column(outputs: Tensor, index: int) -> Tensor:
    """The outputs of one class, shape (N, ...), from all of them, shape (N, classes, ...).

    Raises
    ------
    ValueError
        If `index` is out of range.
    """
    if not 0 <= index < outputs.shape[1]:
        raise ValueError(f"target {index} is out of range: the model has classes 0 to {outputs.shape[1] - 1}")
    return outputs[:, index]


def others(outputs: Tensor, index: int) -> Tensor:
    """The largest output of any other class, shape (N, ...). There must be at least two classes."""
    return torch.cat([outputs[:, :index], outputs[:, index + 1 :]], 1).amax(1)


def as_many(known: Tensor, count: int, who: str) -> Tensor:
    """What is known about the whole inputs, if its length is 1 or equals the number of samples scored now.

    Raises
    ------
    ValueError
        If it has another length.
    """
    if len(known) not in (1, count):
        raise ValueError(
            f"{who} knows the answers to {len(known)} inputs, but {count} are scored now: bind it to one input, or to "
            "as many as are scored together; with gradient attributors, explain one input at a time"
        )
    return known


def between(value: Any, name: str, low: float, high: float = math.inf) -> float:
    """Check that a setting is a number from `low` to `high`, and return it as a float.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= float(value) <= high:
        expected = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
        raise ValueError(f"{name} must be a number {expected}, got {value!r}")
    return float(value)


def share(value: Any, name: str) -> float:
    """Check that a setting is a number from 0 to 1, and return it as a float.

    Raises
    ------
    ValueError
        If it is not.
    """
    return between(value, name, 0, 1)
