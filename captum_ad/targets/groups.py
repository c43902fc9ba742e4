"""Targets of several classes: any class of a group, or one class rather than another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_ad.targets.base import Target, column, matrix
from captum_ad.targets.classes import Names, checked_confidence, index_of


class Group(Target):
    """Any of several classes, e.g. why a dog, whatever its breed.

    Parameters
    ----------
    indices : sequence of int or str
        Class indices, or names in `names`.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes, e.g. ``model.config.id2label``.
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
            raise TypeError(f"a Group takes a list of classes, got {indices!r}: use Group([{indices!r}, ...])")
        checked_confidence(to_confidence, ("softmax", "none"))
        self.to_confidence = to_confidence
        self.indices = sorted({index_of(index, names) for index in indices})
        if not self.indices:
            raise ValueError("a Group needs at least one class")

    def score(self, readout: Any) -> Tensor:
        """The log-sum-exp of the classes' logits, shape (N,); for one class, its logit."""
        outputs = self._logits(readout)
        return torch.stack([column(outputs, index) for index in self.indices], 1).logsumexp(1)

    def confidence(self, readout: Any) -> Tensor:
        """The sum of the classes' probabilities, shape (N,)."""
        return (self.score(readout) - self._logits(readout).logsumexp(1)).exp().clamp(max=1)

    def kept(self, readout: Any) -> Tensor:
        """Whether the predicted class is in the group, shape (N,)."""
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
    """Why one class or group rather than another.

    From *Rethinking Saliency Maps*: "why a terrier" and "why a terrier rather than a poodle" have different answers for
    the same object.

    Parameters
    ----------
    a, b : int, str or Group
        The class in question, and what it is compared with.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    to_confidence : {"softmax", "none"}
        As for :class:`Group`. A group that is passed in uses its own.

    Examples
    --------
    >>> target = Contrast(0, Group([1, 2]))
    >>> target.kept(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.5, 0.5]]))
    tensor([ True, False])
    """

    instead: ClassVar[str] = "swap the two classes"

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
            raise ValueError(
                "one side of the Contrast takes logits and the other probabilities: use one to_confidence= for both"
            )
        common = set(self.a.indices) & set(self.b.indices)
        if common:
            raise ValueError(f"a Contrast needs different classes, got {sorted(common)} on both sides")

    def score(self, readout: Any) -> Tensor:
        """The log-odds of a against b, shape (N,); for single classes, the difference of their logits."""
        return self.a.score(readout) - self.b.score(readout)

    def confidence(self, readout: Any) -> Tensor:
        """The probability of a, given that it is a or b, shape (N,)."""
        return self.score(readout).sigmoid()

    def kept(self, readout: Any) -> Tensor:
        """Whether a is more probable than b, shape (N,)."""
        return self.score(readout) > 0

    def __repr__(self) -> str:
        sides = [one.indices[0] if len(one.indices) == 1 else one for one in (self.a, self.b)]
        return f"Contrast({sides[0]}, {sides[1]})"
