"""Run a forward on many variants of one input, in batches, and judge what it says about a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.batches import default_batch_size
from captum_ad._forwards.answers import Answering, refuse_both
from captum_ad._forwards.baseline_forward import Baseline, BaselineForward, MaskedForward
from captum_ad.targets.base import Target, column, matrix, share
from captum_ad.targets.classes import TO_CONFIDENCE, Class, MultiLabel, ToConfidence, checked_confidence, index_of

__all__ = ["TO_CONFIDENCE", "ToConfidence", "share"]

Asked = int | Tensor | Target | None
"""The target of a metric: a class index, a target, or None for the forward's own target."""


class Output(Target):
    """One output, without a criterion for when it is kept: enough for curves, not for explanations."""

    def __init__(self, index: int) -> None:
        self.index = index

    def score(self, readout: Any) -> Tensor:
        """The output."""
        return column(matrix(readout, "target"), self.index)

    @property
    def decides(self) -> bool:
        """False: there is no criterion."""
        return False

    def kept(self, readout: Any) -> Tensor:
        """True for every sample."""
        return torch.ones_like(self.score(readout), dtype=torch.bool)

    def __repr__(self) -> str:
        return f"output {self.index}"


class Judge:
    """Reads off a model's output the confidence in a target, and whether the target is still the answer.

    Parameters
    ----------
    target : int, Tensor or Target
        A class index, or any other target.
    to_confidence : str or callable
        What a class index means. ``"softmax"``: :class:`~captum_ad.targets.Class`. ``"sigmoid"``:
        :class:`~captum_ad.targets.MultiLabel`, also for a single logit. ``"none"``: the model returns
        probabilities, or a single number. A function of outputs (N, classes): the class is the answer where the
        function's result is largest.

    Raises
    ------
    TypeError, ValueError
        If `to_confidence` or `target` is invalid, or if both a Target and `to_confidence` are given.
    """

    def __init__(self, target: int | Tensor | Target, to_confidence: ToConfidence = "softmax") -> None:
        checked_confidence(to_confidence)
        if isinstance(target, Target):
            if to_confidence != "softmax":
                raise ValueError(f"{target!r} itself says what the outputs mean: leave to_confidence out")
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
        """Bind the target to the readout of the whole input."""
        self.asked = self.asked.bound(whole)

    def __call__(self, readout: Any) -> tuple[Tensor, Tensor]:
        """Judge a batch.

        Parameters
        ----------
        readout : Any
            What the target reads off the model's output, usually a tensor (N, classes).

        Returns
        -------
        confidence : Tensor
            Confidence in the target, float32 or float64, shape (N,); NaN if that of any class is NaN.
        kept : Tensor
            Whether the target is still the answer, bool, shape (N,); for a class, whether it is above all others. In a
            tie, False.

        Raises
        ------
        ValueError, TypeError
            If the output does not fit the target.
        """
        return self.asked.confidence(readout), self.asked.kept(readout)


class _Probability(Class):
    """A class of a model that returns probabilities; if the model has one output, that output."""

    def __init__(self, index: int) -> None:
        super().__init__(index, to_confidence="none")

    def bound(self, whole: Any) -> Target:
        """A class or a single output, as the output for the whole input shows."""
        return Output(self.index) if matrix(whole, "target").shape[1] == 1 else self

    @property
    def needs_whole(self) -> bool:
        """True."""
        return True


Asking = TypeVar("Asking", bound=Answering)


def asking(forward: Asking, target: Asked, to_confidence: ToConfidence = "softmax") -> tuple[Asking, Judge]:
    """A forward whose ``outputs`` the judge reads, and the judge.

    Raises
    ------
    TypeError, ValueError
        If neither the forward nor the call has a target, or both have one.
    """
    own = forward.target
    if own is None and target is None:
        raise TypeError("there is no target: give target=, a class index or one of captum_ad.targets")
    if target is not own:
        refuse_both(own, target)
    judge = Judge(own if target is None else target, to_confidence)  # type: ignore[arg-type]
    return forward.with_target(judge.asked), judge


def plain(model: nn.Module) -> MaskedForward:
    """A forward of a model without masks; for an ADForward, of its model, with the same select and target."""
    if isinstance(model, MaskedForward):
        return BaselineForward(model.model, 0.0, select=model.select, target=model.target)
    return BaselineForward(model, 0.0)


def whole_of(forward: Answering, x: Any, judge: Judge) -> None:
    """Bind a judge to the answer to the whole input, if it needs it.

    Runs on a copy of `x`, because some models write into their input.
    """
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
        ``run(start, stop)``: the model's output for the variants from `start` to `stop` (exclusive).
    count : int
        The number of variants.
    judge : Judge
        Judges the outputs.
    batch_size : int
        Variants per forward; all batches except the last are full.
    progress : str, optional
        The title of a progress bar; by default there is none.

    Returns
    -------
    confidence, kept : Tensor
        Shape (count,), on the model's device.

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
    """A forward that takes masks: the given ADForward, or the given model with the given baseline.

    Raises
    ------
    TypeError, ValueError
        If `forward` is not a module or is in train mode, if a plain model is given without a baseline, or an
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
            "a plain model needs a baseline to hide features with: give one, e.g. baseline='avg', or wrap the model, "
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
        If it is in train mode: BatchNorm would mix the variants of a batch and update its statistics.
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
    """Refuse anything that is not one input of shape (1, C, *spatial).

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
    """The given batch size, or :func:`default_batch_size`.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    if batch_size is None:
        return default_batch_size(device)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
    return batch_size
