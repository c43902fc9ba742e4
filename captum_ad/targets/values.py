"""Targets that are numbers: a regression output, a similarity, an autoencoder's error."""

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
"""Named reconstruction losses, computed element by element."""


class Regression(Target):
    """A number. The answer is kept while it is within a tolerance of the model's output for the whole input.

    γ is not used: 90 % of an age of 45 years is not a meaningful threshold. An explanation is sufficient if it keeps
    the answer.

    Parameters
    ----------
    index : int
        Which of the model's outputs to use, if they have shape (N, K); 0 for shape (N,) or (N, 1).
    tolerance : float
        Largest accepted difference, in the units of the output.

    Examples
    --------
    >>> target = Regression(tolerance=3.0).bound(torch.tensor([[45.0]]))
    >>> target.kept(torch.tensor([[43.0], [51.0]]))
    tensor([ True, False])
    """

    graded: ClassVar[bool] = False

    def __init__(self, index: int = 0, *, tolerance: float) -> None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0 < tolerance < math.inf:
            raise ValueError(f"tolerance must be a positive number in the units of the output, got {tolerance!r}")
        self.index: int = index_of(index, None)
        self.tolerance: float = float(tolerance)
        self.whole: Tensor | None = None

    @property
    def needs_whole(self) -> bool:
        """True until it is bound."""
        return self.whole is None

    @property
    def score_needs_whole(self) -> bool:
        """False: the value itself does not depend on the whole input."""
        return False

    def bound(self, whole: Any) -> Target:
        """A copy that knows the value for the whole input."""
        known = copy.copy(self)
        known.whole = self.score(whole)
        return known

    def score(self, readout: Any) -> Tensor:
        """The value, shape (N,)."""
        return column(matrix(readout, "Regression"), self.index)

    def kept(self, readout: Any) -> Tensor:
        """Whether the value is within the tolerance of that for the whole input, shape (N,)."""
        if self.whole is None:
            raise ValueError("Regression.kept needs the value for the whole input first: call bound(readout)")
        score = self.score(readout)
        near: Tensor = (score - as_many(self.whole, len(score), "Regression")).abs() <= self.tolerance
        return near

    def __repr__(self) -> str:
        return f"Regression({self.index}, tolerance={self.tolerance:g})"


class Similarity(Target):
    """The cosine similarity to a fixed embedding: which part of this image makes it match another image.

    This is the question of SANE (Plummer et al. 2020). To see which part of the *other* image matches, swap the two.

    Parameters
    ----------
    reference : Tensor
        The model's embedding of the other image, with or without the batch dimension.
    threshold : float, optional
        The images match while the cosine is at least this. Without it, only γ decides.

    Examples
    --------
    >>> Similarity(torch.tensor([1.0, 0.0])).score(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 0.])
    """

    instead: ClassVar[str] = "give a lower threshold="

    def __init__(self, reference: Tensor, threshold: float | None = None) -> None:
        if not isinstance(reference, Tensor):
            raise TypeError(f"reference must be an embedding tensor, got {type(reference).__name__}: use model(image)")
        self.reference = reference.detach().flatten()
        self.threshold = None if threshold is None else between(threshold, "threshold", -1, 1)
        if not bool(self.reference.any()) or not bool(self.reference.isfinite().all()):
            raise ValueError("the reference embedding must be finite and not all zeros")

    @classmethod
    def to(
        cls,
        model: nn.Module,
        image: Tensor,
        threshold: float | None = None,
        *,
        select: str | int | Callable[[Any], Any] = tensor_of,
    ) -> Similarity:
        """Similarity to an image, shape (1, C, *spatial), which the model embeds.

        `select` picks the embedding from the model's output, as in the forward; by default the only tensor in it.

        Raises
        ------
        ValueError
            If the model is in train mode, since its embedding would be random and depend on the batch.
        """
        if model.training:
            raise ValueError(f"{type(model).__name__} is in train mode: call model.eval() first")
        with torch.no_grad():
            output = model(image)
            return cls(select(output) if callable(select) else selected_part(output, select), threshold)

    @property
    def decides(self) -> bool:
        """Only with a threshold."""
        return self.threshold is not None

    def score(self, readout: Any) -> Tensor:
        """The cosine similarity, −1 to 1, shape (N,); 0 if the embedding is all zeros."""
        if readout.dim() < 2:
            raise ValueError(
                f"Similarity: the model returned shape {tuple(readout.shape)}, expected embeddings, (N, K)"
            )
        flat = readout.flatten(1)
        if flat.shape[1] != len(self.reference):
            raise ValueError(
                f"the embedding has {flat.shape[1]} numbers but the reference {len(self.reference)}: the reference "
                "must be the same model's embedding of one image"
            )
        return F.cosine_similarity(flat, self.reference.to(flat)[None], dim=1)

    def kept(self, readout: Any) -> Tensor:
        """Whether the cosine is at least the threshold, shape (N,); True without a threshold."""
        score = self.score(readout)
        return torch.ones_like(score, dtype=torch.bool) if self.threshold is None else score >= self.threshold

    def __repr__(self) -> str:
        return f"Similarity({len(self.reference)} numbers, threshold={self.threshold})"


class Reconstruction(Target):
    """An autoencoder's reconstruction error: which part of the input it fails to reproduce.

    The error is the mean over the kept features of the first input. Hidden features do not count.

    Parameters
    ----------
    loss : {"mse", "l1"} or callable
        The loss per element; a function takes the reconstruction and the input.
    threshold : float, optional
        The input is an anomaly if the error is at least this. Without it, only γ decides.

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
        """Only with a threshold."""
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
            raise ValueError(f"the loss returned shape {tuple(errors.shape)}, expected one number per element")
        there = errors.where(kept, torch.zeros_like(errors)).flatten(1)
        error: Tensor = there.sum(1) / kept.flatten(1).sum(1).clamp(min=1)
        return error

    def score(self, readout: Any) -> Tensor:
        """The error, shape (N,)."""
        found: Tensor = readout
        return found

    def kept(self, readout: Any) -> Tensor:
        """Whether the error is at least the threshold, shape (N,); True without a threshold."""
        return torch.ones_like(readout, dtype=torch.bool) if self.threshold is None else readout >= self.threshold

    def __repr__(self) -> str:
        return f"Reconstruction(threshold={self.threshold})"
