"""Targets that are numbers: a regression's, a similarity, an autoencoder's error."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad.targets.base import Given, Target, as_many, between, column, matrix, selected_part, tensor_of
from captum_ad.targets.classes import index_of

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda output, x: (output - x).square(),
    "l1": lambda output, x: (output - x).abs(),
}
"""Losses of a reconstruction that have a name, element by element."""


class Regression(Target):
    """A number: the answer is kept while it is within a tolerance of what the model says of the whole input.

    γ means nothing here: 90 % of an age of 45 years is not a threshold. An explanation suffices if it keeps the answer.

    Parameters
    ----------
    index : int
        Which of the model's outputs, (N,), (N, 1) or (N, K).
    tolerance : float
        In the unit of the output.

    Examples
    --------
    >>> target = Regression(tolerance=3.0).bound(torch.tensor([[45.0]]))
    >>> target.kept(torch.tensor([[43.0], [51.0]]))
    tensor([ True, False])
    """

    graded: ClassVar[bool] = False

    def __init__(self, index: int = 0, *, tolerance: float) -> None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0 < tolerance < math.inf:
            raise ValueError(f"tolerance must be a positive number in the unit of the output, got {tolerance!r}")
        self.index: int = index_of(index, None)
        self.tolerance: float = float(tolerance)
        self.whole: Tensor | None = None

    @property
    def needs_whole(self) -> bool:
        """Until it is bound."""
        return self.whole is None

    @property
    def score_needs_whole(self) -> bool:
        """The value itself needs nothing."""
        return False

    def bound(self, whole: Any) -> Target:
        """It, knowing the value of the whole input."""
        known = copy.copy(self)
        known.whole = self.score(whole)
        return known

    def score(self, readout: Any) -> Tensor:
        """The value."""
        return column(matrix(readout, "Regression"), self.index)

    def kept(self, readout: Any) -> Tensor:
        """Whether it is within the tolerance of the whole input's."""
        if self.whole is None:
            raise ValueError("Regression.kept needs the value of the whole input first: use bound(readout)")
        score = self.score(readout)
        near: Tensor = (score - as_many(self.whole, len(score), "Regression")).abs() <= self.tolerance
        return near

    def __repr__(self) -> str:
        return f"Regression({self.index}, tolerance={self.tolerance:g})"


class Similarity(Target):
    """The cosine of an embedding with a fixed one: which part of this image makes it match that one.

    The question of SANE (Plummer et al. 2020). For which part of *that* image matches, exchange the two.

    Parameters
    ----------
    reference : Tensor
        The other image's embedding, what the model returns for it, with or without the batch dimension.
    threshold : float, optional
        At that cosine the images still match. Without it γ alone decides.

    Examples
    --------
    >>> Similarity(torch.tensor([1.0, 0.0])).score(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 0.])
    """

    instead: ClassVar[str] = "give a lower threshold="

    def __init__(self, reference: Tensor, threshold: float | None = None) -> None:
        if not isinstance(reference, Tensor):
            raise TypeError(f"reference must be an embedding, a tensor, got {type(reference).__name__}: model(image)")
        self.reference = reference.detach().flatten()
        self.threshold = None if threshold is None else between(threshold, "threshold", -1, 1)
        if not bool(self.reference.any()) or not bool(self.reference.isfinite().all()):
            raise ValueError("the reference embedding is zero, or not finite: there is nothing to be similar to")

    @classmethod
    def to(
        cls,
        model: nn.Module,
        image: Tensor,
        threshold: float | None = None,
        *,
        select: str | int | Callable[[Any], Any] = tensor_of,
    ) -> Similarity:
        """Similarity to an image, shape (1, C, *spatial), by the model's own embedding of it.

        `select` picks the embedding of the model's output, as in the forward; by default the only tensor in it.

        Raises
        ------
        ValueError
            If the model is in train mode: its embedding would depend on chance and on the batch.
        """
        if model.training:
            raise ValueError(f"{type(model).__name__} is in train mode: call model.eval() first")
        with torch.no_grad():
            output = model(image)
            return cls(select(output) if callable(select) else selected_part(output, select), threshold)

    @property
    def decides(self) -> bool:
        """With a threshold."""
        return self.threshold is not None

    def score(self, readout: Any) -> Tensor:
        """The cosine, −1 to 1; 0 for an embedding of zeros."""
        if readout.dim() < 2:
            raise ValueError(f"Similarity: the model returned {tuple(readout.shape)}, expected embeddings, (N, K)")
        flat = readout.flatten(1)
        if flat.shape[1] != len(self.reference):
            raise ValueError(
                f"the embedding has {flat.shape[1]} numbers and the reference {len(self.reference)}: is the reference "
                "one image's?"
            )
        return F.cosine_similarity(flat, self.reference.to(flat)[None], dim=1)

    def kept(self, readout: Any) -> Tensor:
        """Whether the cosine is at the threshold or over it; always, if there is none."""
        score = self.score(readout)
        return torch.ones_like(score, dtype=torch.bool) if self.threshold is None else score >= self.threshold

    def __repr__(self) -> str:
        return f"Similarity({len(self.reference)} numbers, threshold={self.threshold})"


class Reconstruction(Target):
    """An autoencoder's error: which part of the input it fails to reproduce.

    The error is the mean over what is there of the first input: what is hidden is neither reproduced nor missed.

    Parameters
    ----------
    loss : {"mse", "l1"} or callable
        Of reconstruction and input, element by element.
    threshold : float, optional
        From that error on the input is an anomaly. Without it γ alone decides.

    Examples
    --------
    >>> from captum_ad import BaselineForward
    >>> nothing = torch.nn.Conv2d(1, 1, 1)
    >>> _ = nothing.requires_grad_(False).weight.zero_(), nothing.bias.zero_()
    >>> BaselineForward(nothing.eval(), 0.0, target=Reconstruction())(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([5.])
    """

    instead: ClassVar[str] = "give a lower threshold="

    def __init__(self, loss: str | Callable[[Tensor, Tensor], Tensor] = "mse", threshold: float | None = None) -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)} or a function, got {loss!r}")
        if not isinstance(loss, str) and not callable(loss):
            raise TypeError(f"loss must be one of {', '.join(LOSSES)} or a function, got {loss!r}")
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        self.threshold = None if threshold is None else between(threshold, "threshold", 0)

    @property
    def decides(self) -> bool:
        """With a threshold."""
        return self.threshold is not None

    def readout(self, output: Any, given: Given) -> Tensor:
        """The error of each sample, shape (N,)."""
        made, x = tensor_of(output), given.inputs[0]
        if made.shape != x.shape:
            raise ValueError(
                f"Reconstruction: the model returned shape {tuple(made.shape)} for an input {tuple(x.shape)}, expected "
                "the input's: give the forward select= if it returns more"
            )
        kept = ~x.isnan()
        if given.masks and given.masks[0] is not None:
            kept = kept & given.masks[0]
        errors = self.loss(made, x.where(kept, torch.zeros_like(x)))
        if errors.shape != x.shape:
            raise ValueError(f"the loss returned shape {tuple(errors.shape)}, expected one number for each element")
        there = errors.where(kept, torch.zeros_like(errors)).flatten(1)
        error: Tensor = there.sum(1) / kept.flatten(1).sum(1).clamp(min=1)
        return error

    def score(self, readout: Any) -> Tensor:
        """The error."""
        found: Tensor = readout
        return found

    def kept(self, readout: Any) -> Tensor:
        """Whether the error is at the threshold or over it; always, if there is none."""
        return torch.ones_like(readout, dtype=torch.bool) if self.threshold is None else readout >= self.threshold

    def __repr__(self) -> str:
        return f"Reconstruction(threshold={self.threshold})"
