"""Running a forward over many variants of one input, batch by batch, and what it says of one class."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad.painted import Baseline, BaselineForward, MaskedForward

ToConfidence = str | Callable[[Tensor], Tensor]
"""How a model's output becomes confidences: ``"softmax"``, ``"sigmoid"``, ``"none"``, or a function of (N, classes)."""

TO_CONFIDENCE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda output: output.softmax(1),
    "sigmoid": torch.sigmoid,
    "none": lambda output: output,
}
"""Those that have a name."""


class Judge:
    """What a forward says of one class: the class's confidence, and whether it is the answer.

    Parameters
    ----------
    target : int or Tensor
        The class, a whole number.
    to_confidence : str or callable
        From the model's output (N, classes) to confidences.

    Raises
    ------
    ValueError
        If there is no `to_confidence` of that name.
    """

    def __init__(self, target: int | Tensor, to_confidence: ToConfidence = "softmax") -> None:
        index: int | None
        try:
            index = operator.index(target)
        except TypeError:
            index = None
        if index is None or isinstance(target, bool) or (isinstance(target, Tensor) and target.dtype == torch.bool):
            raise TypeError(f"target must be a class index, got {target!r}")
        if isinstance(to_confidence, str) and to_confidence not in TO_CONFIDENCE:
            raise ValueError(
                f"to_confidence must be one of {', '.join(TO_CONFIDENCE)} or a function, got {to_confidence!r}"
            )
        if not isinstance(to_confidence, str) and not callable(to_confidence):
            raise TypeError(
                f"to_confidence must be one of {', '.join(TO_CONFIDENCE)} or a function, got {to_confidence!r}"
            )
        self.target = index
        self.to_confidence = TO_CONFIDENCE[to_confidence] if isinstance(to_confidence, str) else to_confidence
        self.keeps_order = isinstance(to_confidence, str)

    def __call__(self, output: Any) -> tuple[Tensor, Tensor]:
        """Judge a batch.

        Parameters
        ----------
        output : Tensor
            The model's, shape (N, classes).

        Returns
        -------
        confidence : Tensor
            Of the target, at least float32, shape (N,); NaN if any class's is.
        kept : Tensor
            Whether the target's output is above every other class's, bool, shape (N,). A tie is nobody's.

        Raises
        ------
        ValueError, TypeError
            If the output is no such tensor, holds NaN, or has no such class.
        """
        if not isinstance(output, Tensor):
            raise TypeError(f"the model returned {type(output).__name__}, expected a tensor: wrap it, or use select=")
        if output.dim() != 2 or output.shape[1] < 2:
            raise ValueError(f"the model returned shape {tuple(output.shape)}, expected (N, classes), two at least")
        if not 0 <= self.target < output.shape[1]:
            raise ValueError(f"target {self.target} is out of range: the model has classes 0 to {output.shape[1] - 1}")
        confidences = self.to_confidence(output.float() if output.dtype in (torch.float16, torch.bfloat16) else output)
        confidence = confidences[:, self.target]
        compared = output if self.keeps_order else confidences  # sigmoids of 20 and 30 are both 1.0
        others = torch.cat([compared[:, : self.target], compared[:, self.target + 1 :]], 1).amax(1)
        confidence = confidence.where(~others.isnan(), torch.nan)  # of another class: no answer to compare with
        return confidence, compared[:, self.target] > others


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
        If `forward` is no module or in train mode, a plain model comes without a baseline, or an
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
        If it is no module.
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


def share(value: Any, name: str) -> float:
    """A number from 0 to 1.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return float(value)


def batch_of(batch_size: int | None, device: torch.device) -> int:
    """The batch size to work with: the one given, or 4 on the CPU, whose cache larger ones leave, else 32.

    Raises
    ------
    ValueError
        If it is no positive integer.
    """
    if batch_size is None:
        return 4 if device.type == "cpu" else 32
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
    return batch_size
