"""Run one input under many masks, for the attributors of this package."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad._captum.perturbing import without_mask, without_partial
from captum_ad._captum.registration import masked_forward_name
from captum_ad._common.batches import perturbations_that_fit
from captum_ad._forwards.answers import Answering, refuse_both
from captum_ad._forwards.arguments import as_features, as_tuple
from captum_ad._scoring import Judge, Output, ToConfidence
from captum_ad.targets.base import Given, Target

Baselines = Tensor | int | float | tuple[Tensor | int | float, ...] | None
Asked = int | Tensor | Target | Sequence[int | Target] | None
"""A class index or a target, or one per sample; None for the forward's own target or its only output."""


class MaskRunner:
    """Run the samples of a batch under masks, with a forward that takes masks or by painting a baseline.

    Parameters
    ----------
    forward_func : callable
        An ADForward or BaselineForward, or any other forward function.
    inputs : Tensor or tuple of Tensor
        Shape (N, C, *spatial), or (N, T), where each value is a position. Integers become floats.
    baselines : Tensor, int, float or tuple of these, optional
        The baseline for the missing features of any other forward function; 0 if not given.
    additional_forward_args : Any
        Passed to the forward, as in Captum. Of a tensor as long as the batch, each sample gets its own row.
    target : int, Target, or one per sample, optional
        What is explained.
    to_confidence : str or callable, optional
        How to score a class index, as for :class:`captum_ad._scoring.Judge`. None: by the raw output.
    who : str
        Name of the attributor, for error messages.

    Raises
    ------
    TypeError, ValueError
        If an input is invalid, or baselines are given with a forward that takes masks.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines,
        additional_forward_args: Any,
        target: Asked,
        to_confidence: ToConfidence | None,
        who: str,
    ) -> None:
        self.inputs = tuple(_checked(x, who) for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
        if not self.inputs or any(len(x) != len(self.inputs[0]) for x in self.inputs):
            raise ValueError(f"{who}: expected inputs with equal batch sizes, got {[tuple(x.shape) for x in inputs]}")
        kind = masked_forward_name(forward_func)
        if kind is not None and baselines is not None:
            raise ValueError(f"{who} got baselines together with {kind}, which needs none: leave them out")
        self.takes_masks = kind is not None
        self.forward_func, self.own_masks = without_mask(forward_func, self.inputs)
        given = baselines if isinstance(baselines, tuple) else (baselines,) * len(self.inputs)
        if len(given) != len(self.inputs):
            raise ValueError(f"{who} got {len(given)} baselines for {len(self.inputs)} inputs: give one for each")
        self.baselines = [paint_of(one, x, who) for one, x in zip(given, self.inputs)]
        self.more = as_tuple(additional_forward_args)
        own = getattr(without_partial(forward_func), "target", None) if self.takes_masks else None
        refuse_both(own, target, who)
        asked = targets_of(own if target is None else target, self.inputs[0], who)
        self.judges = [judge_of(one, to_confidence) for one in asked]
        for sample, judge in enumerate(self.judges):
            if judge.asked.checks_whole:
                judge.bind(self(sample, self.filled(True)))

    @property
    def spatial(self) -> list[tuple[int, ...]]:
        """The spatial shape of each input."""
        return [tuple(x.shape[min(2, x.dim() - 1) :]) for x in self.inputs]

    def filled(self, value: bool) -> tuple[Tensor, ...]:
        """For each input, one mask that keeps everything or nothing, shape (1, *spatial)."""
        return tuple(torch.full((1, *shape), value, device=x.device) for x, shape in zip(self.inputs, self.spatial))

    def shown(self, values: Sequence[Tensor], inputs: Any) -> Tensor | tuple[Tensor, ...]:
        """Turn values of positions, shape (N, *spatial) each, into attributions of the inputs' shape and type."""
        found = tuple(self._with_channel(one, x).to(x).expand_as(x).contiguous() for one, x in zip(values, self.inputs))
        return found if isinstance(inputs, tuple) else found[0]

    def __call__(self, sample: int, masks: Sequence[Tensor]) -> Any:
        """What the sample's judge reads from the forward's output under masks.

        Parameters
        ----------
        sample : int
            Its index in the batch.
        masks : sequence of Tensor
            For each input, B masks, shape (B, *spatial): bool (True = keep) or, if a baseline is painted, also weights
            in [0, 1] of the input's dtype.

        Returns
        -------
        Any
            The readout of B samples.
        """
        target = self.judges[sample].asked
        count = len(masks[0])
        images = [x[sample : sample + 1].expand(count, *x.shape[1:]) for x in self.inputs]
        more = [self._row(arg, sample, count) for arg in self.more]
        kept = [self._with_channel(mask, x) for mask, x in zip(masks, images)]
        if self.own_masks is not None:
            kept = [mask & given[sample : sample + 1] for mask, given in zip(kept, self.own_masks)]
        if self.takes_masks:
            # Registration wraps Captum's own attributors only, so pass the mask explicitly.
            mask = (*kept, *(None for _ in more))
            forward = without_partial(self.forward_func)
            if isinstance(forward, Answering):
                return _renewed(self.forward_func, forward.with_target(target).outputs)(*images, *more, mask=mask)
            return target.readout(self.forward_func(*images, *more, mask=mask), Given((*images, *more), mask))
        painted = []
        for x, keep, baseline in zip(images, kept, self.baselines):
            paint = baseline[sample : sample + 1] if len(baseline) > 1 else baseline
            hard = keep.dtype == torch.bool
            painted.append(torch.where(keep, x, paint) if hard else x * keep + paint * (1 - keep))
        return target.readout(self.forward_func(*painted, *more), Given((*painted, *more)))

    @staticmethod
    def _with_channel(values: Tensor, x: Tensor) -> Tensor:
        return values.unsqueeze(1) if x.dim() > 2 else values

    def _row(self, arg: Any, sample: int, count: int) -> Any:
        if isinstance(arg, Tensor) and arg.dim() > 0 and len(arg) == len(self.inputs[0]):
            return arg[sample : sample + 1].expand(count, *arg.shape[1:])
        return arg


def _renewed(call: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Replace the function inside partial calls, keeping their arguments."""
    if not isinstance(call, functools.partial):
        return function
    return functools.partial(_renewed(call.func, function), *call.args, **call.keywords)


def _checked(x: Any, who: str) -> Tensor:
    """An input as a floating-point tensor.

    Raises
    ------
    TypeError, ValueError
        If it is not a tensor of numbers, or has an unsupported shape.
    """
    if not isinstance(x, Tensor) or x.dtype == torch.bool or x.is_complex():
        raise TypeError(
            f"{who}: expected a tensor of numbers, got {x.dtype if isinstance(x, Tensor) else type(x).__name__}"
        )
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"{who} needs inputs of shape (N, C, *spatial) or (N, T), got {tuple(x.shape)}")
    return as_features(x)


class _Only(Output):
    """The only output of a forward, if no target was given."""

    def __repr__(self) -> str:
        return "the only output"

    def __init__(self) -> None:
        super().__init__(0)

    def score(self, readout: Any) -> Tensor:
        """The output."""
        if isinstance(readout, Tensor) and readout.dim() == 2 and readout.shape[1] > 1:
            raise TypeError(
                f"the forward returns {readout.shape[1]} numbers per sample: give target=, a class index or one of "
                "captum_ad.targets, or a list of them, one per sample"
            )
        return super().score(readout)


def targets_of(target: Asked, x: Tensor, who: str) -> list[int | Target]:
    """One class index or target per sample, from a single one or a sequence.

    Raises
    ------
    TypeError, ValueError
        If it has another type, or their number does not equal that of samples.
    """
    if target is None:
        return [_Only()] * len(x)
    if isinstance(target, Tensor):
        target = target.tolist() if target.dim() else int(target)
    if isinstance(target, Target) or (isinstance(target, int) and not isinstance(target, bool)):
        return [target] * len(x)
    if not isinstance(target, (list, tuple)) or not all(isinstance(one, (int, Target)) for one in target):
        raise TypeError(f"{who}: target must be a class index or target, or a list of one per sample, got {target!r}")
    if len(target) == 1:
        return [target[0]] * len(x)
    if len(target) != len(x):
        raise ValueError(f"{who}: got {len(target)} targets for {len(x)} samples")
    return list(target)


def judge_of(target: int | Target, to_confidence: ToConfidence | None) -> Judge:
    """The judge of one sample. It reads a class's confidence or, without `to_confidence`, its raw output."""
    if isinstance(target, Target):
        return Judge(target)
    return Judge(Output(target)) if to_confidence is None else Judge(target, to_confidence)


def positive(value: Any, name: str, least: int = 1) -> int:
    """Check that a setting is an integer of at least `least`, and return it.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


def masks_per_forward(perturbations_per_eval: int | None, inputs: Sequence[Tensor]) -> int:
    """The number of masks per forward of one sample: as given, or as many as suit its size.

    Raises
    ------
    ValueError
        If it is given and not a positive integer.
    """
    if perturbations_per_eval is None:
        return perturbations_that_fit([x[:1] for x in inputs])
    return positive(perturbations_per_eval, "perturbations_per_eval")


def paint_of(baseline: Any, x: Tensor, who: str) -> Tensor:
    """A baseline as a tensor that broadcasts to the input."""
    value = 0 if baseline is None else baseline
    if not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{who}: baselines must be a number or a tensor, got {type(value).__name__}")
    paint = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if paint.dim() == 0:
        return paint.reshape((1,) * x.dim())
    if paint.dim() != x.dim() or any(n not in (1, m) for n, m in zip(paint.shape, x.shape)):
        raise ValueError(f"{who}: baselines of shape {tuple(paint.shape)} do not broadcast to {tuple(x.shape)}")
    return paint
