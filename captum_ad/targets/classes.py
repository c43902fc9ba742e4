"""Targets that are one class: of several, of two, of many labels."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_ad._common.errors import UnknownNameError
from captum_ad.targets.base import Target, column, matrix, others

ToConfidence = str | Callable[[Tensor], Tensor]
"""How a model's output becomes confidences: ``"softmax"``, ``"sigmoid"``, ``"none"``, or a function of (N, classes)."""

TO_CONFIDENCE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda output: output.softmax(1),
    "sigmoid": torch.sigmoid,
    "none": lambda output: output,
}
"""Those that have a name."""

Names = Sequence[str] | Mapping[int, str]


class Class(Target):
    """One of several classes that exclude each other: the answer is the class with the largest output.

    Parameters
    ----------
    index : int or str
        The class, or its name.
    names : sequence of str, or mapping of int to str, optional
        The names of all, e.g. ``model.config.id2label``.
    to_confidence : {"softmax", "none"} or callable
        ``"none"`` for a model that ends in a softmax; or a function of (N, classes).

    Raises
    ------
    TypeError, ValueError, UnknownNameError
        If there is no such class.

    Examples
    --------
    >>> outputs = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    >>> target = Class("dog", names=["cat", "dog"])
    >>> target.score(outputs), target.kept(outputs)
    (tensor([2., 0.]), tensor([ True, False]))
    """

    instead: ClassVar[str] = "explain the predicted class"

    def __init__(
        self, index: int | str | Tensor, names: Names | None = None, *, to_confidence: ToConfidence = "softmax"
    ) -> None:
        self.index = index_of(index, names)
        self.to_confidence = checked_confidence(to_confidence, ("softmax", "none"))
        self.named = isinstance(to_confidence, str)

    def score(self, readout: Any) -> Tensor:
        """The class's output."""
        return column(matrix(readout, "Class", 2), self.index)

    def confidence(self, readout: Any) -> Tensor:
        """Its probability; NaN if any class's output is."""
        confidences = self.to_confidence(matrix(readout, "Class", 2))
        return column(confidences, self.index).where(~others(confidences, self.index).isnan(), torch.nan)

    def kept(self, readout: Any) -> Tensor:
        """Whether it is above every other class's; a tie is nobody's."""
        outputs = matrix(readout, "Class", 2)
        # a softmax keeps the order, but rounds: what a function of the user's does only it knows
        compared = outputs if self.named else self.to_confidence(outputs)
        return column(compared, self.index) > others(compared, self.index)

    def __repr__(self) -> str:
        return f"Class({self.index})"


class MultiLabel(Target):
    """One of several labels, each of which is there or not: the answer is kept while it is over its threshold.

    Parameters
    ----------
    index : int or str
        The label, or its name.
    threshold : float
        Above that probability the label is there.
    names : sequence of str, or mapping of int to str, optional
        The names of all.
    to_confidence : {"sigmoid", "none"} or callable
        ``"none"`` for a model that ends in a sigmoid.

    Examples
    --------
    >>> MultiLabel(1).kept(torch.tensor([[9.0, 1.0], [9.0, -1.0]]))
    tensor([ True, False])
    """

    instead: ClassVar[str] = (
        "explain a label that is there, or give a lower threshold=; the other class of one logit is Binary(positive=0)"
    )

    def __init__(
        self,
        index: int | str | Tensor,
        threshold: float = 0.5,
        names: Names | None = None,
        *,
        to_confidence: ToConfidence = "sigmoid",
    ) -> None:
        self.index = index_of(index, names)
        self.threshold = checked_threshold(threshold)
        self.to_confidence = checked_confidence(to_confidence, ("sigmoid", "none"))
        self.by_sigmoid = to_confidence == "sigmoid"

    def score(self, readout: Any) -> Tensor:
        """The label's output."""
        return column(matrix(readout, type(self).__name__), self.index)

    def confidence(self, readout: Any) -> Tensor:
        """Its probability; NaN if any label's output is: there is something wrong with the model then."""
        confidences = self.to_confidence(matrix(readout, type(self).__name__))
        return column(confidences, self.index).where(~confidences.isnan().any(1), torch.nan)

    def kept(self, readout: Any) -> Tensor:
        """Whether it is over the threshold."""
        if self.by_sigmoid:  # sigmoids of 20 and 30 are both 1
            return self.score(readout) > _logit(self.threshold)
        return self.confidence(readout) > self.threshold

    def __repr__(self) -> str:
        return f"MultiLabel({self.index}, threshold={self.threshold:g})"


class Binary(Target):
    """One of two classes, by one logit, (N,) or (N, 1), or by two.

    Parameters
    ----------
    positive : {1, 0}
        1: the class that a large logit means, or the second of two. 0: the other.
    threshold : float
        Above that probability of it the answer is kept.
    to_confidence : {"sigmoid", "none"}
        ``"none"`` for a model that ends in a sigmoid, or a softmax of two.

    Examples
    --------
    >>> Binary(positive=0).score(torch.tensor([[2.0], [-1.0]]))
    tensor([-2.,  1.])
    """

    instead: ClassVar[str] = "explain the other class, positive=0 or 1, or give another threshold="

    def __init__(self, positive: int = 1, threshold: float = 0.5, *, to_confidence: str = "sigmoid") -> None:
        if positive not in (0, 1):
            raise ValueError(f"positive must be 1 or 0, got {positive!r}")
        checked_confidence(to_confidence, ("sigmoid", "none"))
        self.positive, self.threshold = int(positive), checked_threshold(threshold)
        self.ends_in_probabilities = to_confidence == "none"

    def score(self, readout: Any) -> Tensor:
        """The log-odds of the class, or its probability if the model ends in those."""
        outputs = matrix(readout, "Binary")
        if outputs.shape[1] > 2:
            raise ValueError(f"Binary: the model returned shape {tuple(readout.shape)}, expected one or two outputs")
        if self.ends_in_probabilities:
            last = outputs[:, -1]
            return last if self.positive else 1 - last
        odds = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        return odds if self.positive else -odds

    def confidence(self, readout: Any) -> Tensor:
        """Its probability."""
        score = self.score(readout)
        return score if self.ends_in_probabilities else score.sigmoid()

    def kept(self, readout: Any) -> Tensor:
        """Whether it is over the threshold."""
        return self.score(readout) > (self.threshold if self.ends_in_probabilities else _logit(self.threshold))

    def __repr__(self) -> str:
        return f"Binary(positive={self.positive}, threshold={self.threshold:g})"


def index_of(given: Any, names: Names | None) -> int:
    """A class's number.

    Raises
    ------
    TypeError, UnknownNameError
        If it is neither a whole number nor one of the names.
    """
    if isinstance(given, str):
        known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
        found = [int(number) for number, name in known.items() if name == given]
        if len(found) > 1:
            raise ValueError(f"the classes {', '.join(map(str, found))} are all called {given!r}: give a number")
        if found:
            return found[0]
        if not known:
            raise TypeError(f"the class {given!r} is a name: say names=, the names of all classes in their order")
        raise UnknownNameError("class", given, [str(name) for name in known.values()])
    index: int | None
    try:
        index = operator.index(given)
    except TypeError:
        index = None
    if index is None or isinstance(given, bool) or (isinstance(given, Tensor) and given.dtype == torch.bool):
        raise TypeError(f"target must be a class index, or one of captum_ad.targets, got {given!r}")
    return index


def checked_confidence(
    given: ToConfidence, allowed: Sequence[str] = tuple(TO_CONFIDENCE)
) -> Callable[[Tensor], Tensor]:
    """The function that a name stands for, or the function given.

    Raises
    ------
    TypeError, ValueError
        If it is neither.
    """
    if isinstance(given, str) and given not in allowed:
        raise ValueError(f"to_confidence must be one of {', '.join(allowed)} or a function, got {given!r}")
    if not isinstance(given, str) and not callable(given):
        raise TypeError(f"to_confidence must be one of {', '.join(allowed)} or a function, got {given!r}")
    return TO_CONFIDENCE[given] if isinstance(given, str) else given


def checked_threshold(threshold: Any) -> float:
    """A probability between 0 and 1."""
    if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real) or not 0 < float(threshold) < 1:
        raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold!r}")
    return float(threshold)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
