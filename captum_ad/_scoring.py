"""Running a forward over many variants of one input, batch by batch, and what it says of one class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._forwards.answers import Answering, refuse_both
from captum_ad._forwards.baseline_forward import Baseline, BaselineForward, MaskedForward
from captum_ad.targets.base import Target, column, matrix, share
from captum_ad.targets.classes import TO_CONFIDENCE, Class, MultiLabel, ToConfidence, checked_confidence, index_of

__all__ = ["TO_CONFIDENCE", "ToConfidence", "share"]

Asked = int | Tensor | Target | None
"""What a metric is asked about: a class index, a target, or None for that of the forward."""


class Output(Target):
    """One output as it is, of which nobody said what keeps it: enough for curves, not for explanations."""

    def __init__(self, index: int) -> None:
        self.index = index

    def score(self, readout: Any) -> Tensor:
        """The output."""
        return column(matrix(readout, "target"), self.index)

    @property
    def decides(self) -> bool:
        """Nobody knows."""
        return False

    def kept(self, readout: Any) -> Tensor:
        """Always."""
        return torch.ones_like(self.score(readout), dtype=torch.bool)

    def __repr__(self) -> str:
        return f"output {self.index}"


class Judge:
    """What a forward says of a target: the confidence in it, and whether it is still the answer.

    Parameters
    ----------
    target : int, Tensor or Target
        A class index, or any other target.
    to_confidence : str or callable
        What a class index means. ``"softmax"``: :class:`~captum_ad.targets.Class`; ``"sigmoid"``:
        :class:`~captum_ad.targets.MultiLabel`, which one logit is too; ``"none"``: a class whose probability the
        model returns, or if it returns one number, that; a function of (N, classes): the largest of what it returns.

    Raises
    ------
    TypeError, ValueError
        If there is no `to_confidence` of that name, no such target, or both say what the outputs mean.
    """

    def __init__(self, target: int | Tensor | Target, to_confidence: ToConfidence = "softmax") -> None:
        checked_confidence(to_confidence)
        if isinstance(target, Target):
            if to_confidence != "softmax":
                raise ValueError(f"{target!r} says itself what the outputs mean: leave to_confidence out")
            self.target: int | Target = target
            self.asked = target
            return
        self.target = index_of(target, None)
        if to_confidence == "sigmoid":
            self.asked = MultiLabel(self.target)
        elif to_confidence == "none":
            self.asked = _Probability(self.target)
        else:
            self.asked = Class(self.target, to_confidence=to_confidence)

    def bind(self, whole: Any) -> None:
        """Tell it the readout of the whole input."""
        self.asked = self.asked.bound(whole)

    def __call__(self, readout: Any) -> tuple[Tensor, Tensor]:
        """Judge a batch.

        Parameters
        ----------
        readout : Any
            What the target reads of the model's output: a tensor (N, classes), mostly.

        Returns
        -------
        confidence : Tensor
            In the target, at least float32, shape (N,); NaN if any class's is.
        kept : Tensor
            Whether it is still the answer, bool, shape (N,); for a class, whether it is above every other one. A tie
            is nobody's.

        Raises
        ------
        ValueError, TypeError
            If the output does not fit the target.
        """
        return self.asked.confidence(readout), self.asked.kept(readout)


class _Probability(Class):
    """A class of a model that ends in probabilities; if it has one output, that output."""

    def __init__(self, index: int) -> None:
        super().__init__(index, to_confidence="none")

    def bound(self, whole: Any) -> Target:
        """Whether it is a class, the whole input's output says."""
        return Output(self.index) if matrix(whole, "target").shape[1] == 1 else self

    @property
    def needs_whole(self) -> bool:
        """Always."""
        return True


Asking = TypeVar("Asking", bound=Answering)


def asking(forward: Asking, target: Asked, to_confidence: ToConfidence = "softmax") -> tuple[Asking, Judge]:
    """A forward whose ``outputs`` the judge reads, and the judge.

    Raises
    ------
    TypeError, ValueError
        If nobody says what is explained, or both the forward and the call do.
    """
    own = forward.target
    if own is None and target is None:
        raise TypeError("what is explained? Give target=, a class index or one of captum_ad.targets")
    if target is not own:
        refuse_both(own, target)
    judge = Judge(own if target is None else target, to_confidence)  # type: ignore[arg-type]
    return forward.with_target(judge.asked), judge


def plain(model: nn.Module) -> MaskedForward:
    """A model as a forward that nothing is masked of; of an ADForward, its model and what it explains."""
    if isinstance(model, MaskedForward):
        return BaselineForward(model.model, 0.0, select=model.select, target=model.target)
    return BaselineForward(model, 0.0)


def whole_of(forward: Answering, x: Any, judge: Judge) -> None:
    """Let a judge know the answer to the whole input if it has to; of a copy: some models write into their input."""
    if judge.asked.checks_whole:
        with torch.no_grad():
            judge.bind(forward.outputs(x.clone()))


def scored(
    run: Callable[[int, int], Any], count: int, judge: Judge, batch_size: int, progress: str | None = None
) -> tuple[Tensor, Tensor]:
    """Judge `count` variants, in batches.

    Parameters
    ----------
    run : callable
        The model's output for the variants from one index up to another.
    count : int
        How many there are.
    judge : Judge
        Of the outputs.
    batch_size : int
        Variants per forward; all batches but the last are full.
    progress : str, optional
        Shows a progress bar of that title.

    Returns
    -------
    confidence, kept : Tensor
        Shape (count,), on the model's device: nothing waits for the device before the end.

    Raises
    ------
    ValueError
        If a confidence is NaN or Inf.
    """
    starts: Iterable[int] = range(0, count, batch_size)
    if progress is not None:
        starts = tqdm(starts, desc=progress, unit="batch")
    with torch.no_grad():
        judged = [judge(run(start, min(start + batch_size, count))) for start in starts]
    confidence, kept = (torch.cat(parts) for parts in zip(*judged))
    if not bool(confidence.isfinite().all()):
        raise ValueError("the model returned NaN or Inf for a masked input: no confidence can be measured with it")
    return confidence, kept


def masked(forward: nn.Module, baseline: Baseline | None) -> MaskedForward:
    """A forward that takes masks: the ADForward given, or the plain model with the baseline given.

    Raises
    ------
    TypeError, ValueError
        If `forward` is not a module or in train mode, a plain model comes without a baseline, or an
        ADForward with one.
    """
    if not isinstance(forward, nn.Module):
        raise TypeError(f"expected an ADForward or a torch.nn.Module, got {type(forward).__name__}")
    in_eval_mode(forward)
    if isinstance(forward, MaskedForward):
        if baseline is not None:
            raise ValueError(f"a baseline was given with {type(forward).__name__}, which needs none: leave it out")
        return forward
    if baseline is None:
        raise ValueError(
            "a plain model needs a baseline to hide features with, e.g. baseline='avg': give one, or wrap the model, "
            "ADForward(model)"
        )
    return BaselineForward(forward, baseline)


def in_eval_mode(model: nn.Module) -> None:
    """Refuse a model in train mode.

    Raises
    ------
    TypeError
        If it is not a module.
    ValueError
        If it is in train mode: BatchNorm would mix the variants of a batch and learn from them.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}: wrap your function in a module")
    plain = model.model if isinstance(model, MaskedForward) else model
    path = next((path for path, module in plain.named_modules() if module.training), None)
    if path is not None:
        who = f"module {path!r} of {type(plain).__name__}" if path else type(plain).__name__
        raise ValueError(
            f"{who} is in train mode: BatchNorm and Dropout then mix the inputs of a batch and change the model. Call "
            "model.eval() first"
        )


def one_input(x: Tensor) -> None:
    """Refuse anything but one input of shape (1, C, *spatial).

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"the input must be a Tensor, got {type(x).__name__}")
    if x.dim() < 3 or x.shape[0] != 1:
        raise ValueError(f"expected one input of shape (1, C, *spatial), got {tuple(x.shape)}: explain one at a time")


def batch_of(batch_size: int | None, device: torch.device) -> int:
    """The batch size to work with: the one given, or 4 on the CPU, whose cache larger ones leave, else 32.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    if batch_size is None:
        return 4 if device.type == "cpu" else 32
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
    return batch_size
