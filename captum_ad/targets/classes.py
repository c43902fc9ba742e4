"""Targets that are a single class: one of several, one of two, or one of many labels."""

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
"""How to turn outputs into confidences: ``"softmax"``, ``"sigmoid"``, ``"none"``, or a function of (N, classes)."""

TO_CONFIDENCE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda output: output.softmax(1),
    "sigmoid": torch.sigmoid,
    "none": lambda output: output,
}
"""The named ones."""

Names = Sequence[str] | Mapping[int, str]


class Class(Target):
    """One of several mutually exclusive classes. The model's answer is the class with the largest output.

    Parameters
    ----------
    index : int or str
        The class index, or a name in `names`.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes, e.g. ``model.config.id2label``.
    to_confidence : {"softmax", "none"} or callable
        How to turn outputs into confidences: ``"none"`` for a model that ends in a softmax, or a function of
        (N, classes).

    Raises
    ------
    TypeError, ValueError, UnknownNameError
        If the class or `to_confidence` is invalid.

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
        """The output for the class, shape (N,)."""
        return column(matrix(readout, "Class", 2), self.index)

    def confidence(self, readout: Any) -> Tensor:
        """The probability of the class, shape (N,); NaN if the output for any class is NaN."""
        confidences = self.to_confidence(matrix(readout, "Class", 2))
        return column(confidences, self.index).where(~others(confidences, self.index).isnan(), torch.nan)

    def kept(self, readout: Any) -> Tensor:
        """Whether the output for the class is larger than for every other class, shape (N,). In a tie, False."""
        outputs = matrix(readout, "Class", 2)
        # softmax keeps the order but may round to ties, so compare logits; a user's function may change the order
        compared = outputs if self.named else self.to_confidence(outputs)
        return column(compared, self.index) > others(compared, self.index)

    def __repr__(self) -> str:
        return f"Class({self.index})"


class MultiLabel(Target):
    """One of several independent labels. The answer is kept while its probability is above the threshold.

    Parameters
    ----------
    index : int or str
        The label's index, or a name in `names`.
    threshold : float
        Probability above which the label is present.
    names : sequence of str, or mapping of int to str, optional
        The names of all labels.
    to_confidence : {"sigmoid", "none"} or callable
        How to turn outputs into probabilities: ``"none"`` for a model that ends in a sigmoid.

    Examples
    --------
    >>> MultiLabel(1).kept(torch.tensor([[9.0, 1.0], [9.0, -1.0]]))
    tensor([ True, False])
    """

    instead: ClassVar[str] = (
        "explain a label that is present, or give a lower threshold=; for the other class of one logit use "
        "Binary(positive=0)"
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
        """The output for the label, shape (N,)."""
        return column(matrix(readout, type(self).__name__), self.index)

    def confidence(self, readout: Any) -> Tensor:
        """The probability of the label, shape (N,); NaN if that of any label is NaN, since the model is then broken."""
        confidences = self.to_confidence(matrix(readout, type(self).__name__))
        return column(confidences, self.index).where(~confidences.isnan().any(1), torch.nan)

    def kept(self, readout: Any) -> Tensor:
        """Whether the probability is above the threshold, shape (N,)."""
        if self.by_sigmoid:  # compare logits: the sigmoids of 20 and 30 both round to 1
            return self.score(readout) > _logit(self.threshold)
        return self.confidence(readout) > self.threshold

    def __repr__(self) -> str:
        return f"MultiLabel({self.index}, threshold={self.threshold:g})"


class Binary(Target):
    """One of two classes, for a model that returns one logit, (N,) or (N, 1), or two, (N, 2).

    Parameters
    ----------
    positive : {1, 0}
        1: the class with the large logit, or the second of two. 0: the other class.
    threshold : float
        The answer is kept while the probability of the class is above this.
    to_confidence : {"sigmoid", "none"}
        ``"none"`` for a model that ends in a sigmoid, or in a softmax over two classes.

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
        """The log-odds of the class, or its probability if the model returns probabilities; shape (N,)."""
        outputs = matrix(readout, "Binary")
        if outputs.shape[1] > 2:
            raise ValueError(f"Binary: the model returned shape {tuple(readout.shape)}, expected one or two outputs")
        if self.ends_in_probabilities:
            last = outputs[:, -1]
            return last if self.positive else 1 - last
        odds = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        return odds if self.positive else -odds

    def confidence(self, readout: Any) -> Tensor:
        """The probability of the class, shape (N,)."""
        score = self.score(readout)
        return score if self.ends_in_probabilities else score.sigmoid()

    def kept(self, readout: Any) -> Tensor:
        """Whether the probability is above the threshold, shape (N,)."""
        return self.score(readout) > (self.threshold if self.ends_in_probabilities else _logit(self.threshold))

    def __repr__(self) -> str:
        return f"Binary(positive={self.positive}, threshold={self.threshold:g})"


def index_of(given: Any, names: Names | None) -> int:
    """The index of a class, from its index or name.

    Raises
    ------
    TypeError, ValueError, UnknownNameError
        If it is neither an integer nor a name of exactly one class.
    """
    if isinstance(given, str):
        known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
        found = [int(number) for number, name in known.items() if name == given]
        if len(found) > 1:
            raise ValueError(f"the classes {', '.join(map(str, found))} are all called {given!r}: give the class index")
        if found:
            return found[0]
        if not known:
            raise TypeError(f"the class {given!r} is a name: also give names=, the names of all classes in order")
        raise UnknownNameError("class", given, [str(name) for name in known.values()])
    index: int | None
    try:
        index = operator.index(given)
    except TypeError:
        index = None
    if index is None or isinstance(given, bool) or (isinstance(given, Tensor) and given.dtype == torch.bool):
        raise TypeError(f"target must be a class index or one of captum_ad.targets, got {given!r}")
    return index


def checked_confidence(
    given: ToConfidence, allowed: Sequence[str] = tuple(TO_CONFIDENCE)
) -> Callable[[Tensor], Tensor]:
    """The function of that name, or the given function.

    Raises
    ------
    TypeError, ValueError
        If it is neither one of the allowed names nor a function.
    """
    if isinstance(given, str) and given not in allowed:
        raise ValueError(f"to_confidence must be one of {', '.join(allowed)} or a function, got {given!r}")
    if not isinstance(given, str) and not callable(given):
        raise TypeError(f"to_confidence must be one of {', '.join(allowed)} or a function, got {given!r}")
    return TO_CONFIDENCE[given] if isinstance(given, str) else given


def checked_threshold(threshold: Any) -> float:
    """Check that a threshold is a probability between 0 and 1."""
    if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real) or not 0 < float(threshold) < 1:
        raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold!r}")
    return float(threshold)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
