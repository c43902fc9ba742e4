"""Targets of several classes: any of a group, one rather than another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_ad.targets.base import Target, column, matrix
from captum_ad.targets.classes import Names, checked_confidence, index_of


class Group(Target):
    """Any of several classes: why a dog, whatever its breed.

    Parameters
    ----------
    indices : sequence of int or str
        The classes, or their names.
    names : sequence of str, or mapping of int to str, optional
        The names of all, e.g. ``model.config.id2label``.
    to_confidence : {"softmax", "none"}
        ``"none"`` for a model that ends in a softmax.

    Examples
    --------
    >>> Group([0, 1]).confidence(torch.tensor([[0.0, 0.0, 0.0]]))
    tensor([0.6667])
    """

    instead: ClassVar[str] = "explain a group with the predicted class in it"

    def __init__(
        self, indices: Sequence[int | str], names: Names | None = None, *, to_confidence: str = "softmax"
    ) -> None:
        if isinstance(indices, str) or not isinstance(indices, Iterable):
            raise TypeError(f"a Group is of several classes, got {indices!r}: Group([{indices!r}, ...])")
        checked_confidence(to_confidence, ("softmax", "none"))
        self.to_confidence = to_confidence
        self.indices = sorted({index_of(index, names) for index in indices})
        if not self.indices:
            raise ValueError("a Group needs at least one class")

    def score(self, readout: Any) -> Tensor:
        """The logarithm of the sum of the classes' exponentials: of one class, its logit."""
        outputs = self._logits(readout)
        return torch.stack([column(outputs, index) for index in self.indices], 1).logsumexp(1)

    def confidence(self, readout: Any) -> Tensor:
        """The sum of their probabilities."""
        return (self.score(readout) - self._logits(readout).logsumexp(1)).exp().clamp(max=1)

    def kept(self, readout: Any) -> Tensor:
        """Whether the answer is one of them."""
        outputs = matrix(readout, "Group", 2)
        column(outputs, self.indices[-1])
        inside = torch.zeros(outputs.shape[1], dtype=torch.bool, device=outputs.device)
        inside[self.indices] = True
        if bool(inside.all()):
            return torch.ones(len(outputs), dtype=torch.bool, device=outputs.device)
        return outputs[:, inside].amax(1) > outputs[:, ~inside].amax(1)

    def _logits(self, readout: Any) -> Tensor:
        outputs = matrix(readout, "Group", 2)
        return outputs.clamp(min=torch.finfo(outputs.dtype).tiny).log() if self.to_confidence == "none" else outputs

    def __repr__(self) -> str:
        return f"Group({self.indices})"


class Contrast(Target):
    """Why one class rather than another, or one group rather than another: the frame of reference of the question.

    From *Rethinking Saliency Maps*: the same object answers "why a terrier" otherwise than "why a terrier rather than a
    poodle".

    Parameters
    ----------
    a, b : int, str or Group
        The class in question, and what it is held against.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "none"}
        As of :class:`Group`, whose own counts where groups are given.

    Examples
    --------
    >>> target = Contrast(0, Group([1, 2]))
    >>> target.kept(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.5]]))
    tensor([ True, False])
    """

    instead: ClassVar[str] = "exchange the two classes"

    def __init__(
        self,
        a: int | str | Group,
        b: int | str | Group,
        names: Names | None = None,
        *,
        to_confidence: str = "softmax",
    ) -> None:
        self.a, self.b = (
            one if isinstance(one, Group) else Group([one], names, to_confidence=to_confidence) for one in (a, b)
        )
        if self.a.to_confidence != self.b.to_confidence:
            raise ValueError("one side of a Contrast is of logits and the other of probabilities: say the same of both")
        common = set(self.a.indices) & set(self.b.indices)
        if common:
            raise ValueError(f"a Contrast is between different classes, got {sorted(common)} on both sides")

    def score(self, readout: Any) -> Tensor:
        """The log-odds of a against b: of two classes, the difference of their logits."""
        return self.a.score(readout) - self.b.score(readout)

    def confidence(self, readout: Any) -> Tensor:
        """The probability of a if it is one of both."""
        return self.score(readout).sigmoid()

    def kept(self, readout: Any) -> Tensor:
        """Whether a is more probable than b."""
        return self.score(readout) > 0

    def __repr__(self) -> str:
        sides = [one.indices[0] if len(one.indices) == 1 else one for one in (self.a, self.b)]
        return f"Contrast({sides[0]}, {sides[1]})"
