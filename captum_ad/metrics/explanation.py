"""Sufficient explanations: the smallest part of an input, by an attribution's ranking, that keeps the class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard, overload

from torch import nn

from captum_ad._common.errors import EmptyExplanationWarning
from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, batch_of, masked, share
from captum_ad.metrics.inputs import Inputs, posed, with_arguments
from captum_ad.metrics.ranking import ranked
from captum_ad.metrics.scan import Scan, SufficientExplanation

PAPER_GAMMAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""The confidence thresholds of the paper's experiments."""


@overload
def sufficient_explanation(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked = ...,
    gamma: float = ...,
    *,
    baseline: Baseline | None = ...,
    additional_forward_args: Any = ...,
    feature_mask: Inputs | None = ...,
    step: int | None = ...,
    search: str = ...,
    minimize: bool = ...,
    to_confidence: ToConfidence = ...,
    allow_other_target: bool = ...,
    batch_size: int | None = ...,
    show_progress: bool = ...,
) -> SufficientExplanation: ...


@overload
def sufficient_explanation(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked,
    gamma: Sequence[float],
    *,
    baseline: Baseline | None = ...,
    additional_forward_args: Any = ...,
    feature_mask: Inputs | None = ...,
    step: int | None = ...,
    search: str = ...,
    minimize: bool = ...,
    to_confidence: ToConfidence = ...,
    allow_other_target: bool = ...,
    batch_size: int | None = ...,
    show_progress: bool = ...,
) -> tuple[SufficientExplanation, ...]: ...


def sufficient_explanation(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked = None,
    gamma: float | Sequence[float] = 0.9,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    step: int | None = None,
    search: str = "scan",
    minimize: bool = False,
    to_confidence: ToConfidence = "softmax",
    allow_other_target: bool = False,
    batch_size: int | None = None,
    show_progress: bool = False,
) -> SufficientExplanation | tuple[SufficientExplanation, ...]:
    """The smallest prefix of an attribution's ranking that alone keeps the class with enough confidence.

    Prefixes range from nothing to the whole input. A prefix is sufficient if the target is still the
    answer (its confidence is larger than every other class's) with a confidence of at least γ times the
    original one. Several γ share one scan.

    Parameters
    ----------
    forward_func : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    inputs : Tensor or tuple of Tensor
        One input, shape (1, C, *spatial), or (1, T), where each value is a position; or several inputs of one sample.
    attribution : Tensor or tuple of Tensor
        Attribution of the inputs' shape, or with one channel, or without the batch dimension. Channels
        are summed; ties are broken by the order of inputs, then in row-major order.
    target : int or Target, optional
        The class index, or one of :mod:`captum_ad.targets`; None if `forward_func` has a target.
    gamma : float or sequence of float
        Threshold γ in [0, 1]; the paper's are :data:`PAPER_GAMMAS`.
    baseline : str, float, Tensor or callable, optional
        The baseline for a plain model's missing features: ``"zero"``, ``"min"``, ``"max"``, ``"avg"``, ``"blur"``,
        ``"inpaint"`` or ``"linear"``, a value, a tensor, or a function of (x, mask).
    additional_forward_args : Any
        Passed to the model after the inputs, as in Captum.
    feature_mask : Tensor or tuple of Tensor, optional
        Integer labels, shape (*spatial) or with leading dimensions of 1. Groups of positions, instead of single
        positions, are then ranked by their mean attribution. Groups may span several inputs.
    step : int, optional
        Units (positions or groups) added per step of the scan. 1 is exact. Default: one group, or one percent
        of the positions.
    search : {"scan", "bisection"}
        ``"scan"`` runs every prefix: one forward per step. ``"bisection"`` assumes that confidence grows along
        the ranking, which need not hold. It is approximate, and its curve has only the points that it evaluated.
    minimize : bool
        Afterwards remove steps, lowest ranked first, while the rest is sufficient, until no single step
        can be removed (EXIC2 of Definition 1, in units of a step). The result is then not a prefix.
    to_confidence : str or callable
        How to read a class index from the model's output (N, classes): ``"softmax"`` for one of several classes;
        ``"sigmoid"`` for a label, kept while its probability is above 0.5; ``"none"`` for a model that ends in a
        softmax; or a function.
    allow_other_target : bool
        Accept a target that is not the model's answer for `inputs`. It may then never be found.
    batch_size : int, optional
        Prefixes per forward, which bounds memory. Default: 4 on the CPU, else 32.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    SufficientExplanation or tuple of SufficientExplanation
        One explanation, or one per γ in the given order.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid, the attribution contains NaN, or `target` is not the model's answer for
        `inputs`.

    Warns
    -----
    UserWarning
        If the empty explanation is sufficient: the model predicts the target with everything hidden.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0., 0, 0, 0], [3, 0, 0, 0]]))
    >>> x = torch.ones(1, 1, 2, 2)
    >>> found = sufficient_explanation(model, x, torch.tensor([[4., 3], [2, 1]]), 1, gamma=0.9, baseline="zero")
    >>> found
    SufficientExplanation(size=0.25, confidence=0.953, gamma=0.9, target=1, found=True)
    >>> found.mask.tolist()
    [[True, False], [False, False]]
    """
    gammas = _checked_gammas(gamma)
    if search not in ("scan", "bisection"):
        raise ValueError(f'search must be "scan" or "bisection", got {search!r}')
    asked, judge = asking(
        masked(with_arguments(forward_func, additional_forward_args), baseline), target, to_confidence
    )
    runner, shown, values, labels, row = posed(asked, inputs, attribution, feature_mask)
    ranking = ranked(values, shown, feature_mask=labels, step=step)
    scan = Scan(runner, shown, ranking, judge, batch_of(batch_size, shown.device))
    if not allow_other_target:
        scan.refuse_other_target()
    if search == "scan":
        scan.measure(range(len(ranking)), "Sufficient explanation" if show_progress else None)
    else:
        for one in gammas:
            scan.bisect(one)
    curve = scan.curve()
    explanations = tuple(scan.explanation(one, curve, minimize) for one in gammas)
    if row is not None:
        explanations = tuple(replace(one, mask=row.single(one.mask)) for one in explanations)
    empty = [f"{one.gamma:g}" for one in explanations if one.empty]
    if empty:
        warnings.warn(
            f"the model predicts the target with everything hidden (γ = {', '.join(empty)}): the explanation is "
            "empty, says nothing about the input, and is left out of means",
            EmptyExplanationWarning,
            stacklevel=2,
        )
    return explanations if _several(gamma) else explanations[0]


def _checked_gammas(gamma: float | Sequence[float]) -> list[float]:
    gammas = list(gamma) if _several(gamma) else [gamma]
    if not gammas:
        raise ValueError("gamma is an empty sequence: give at least one threshold")
    return [share(one, "gamma") for one in gammas]


def _several(gamma: float | Sequence[float]) -> TypeGuard[Sequence[float]]:
    return isinstance(gamma, Sequence) or getattr(gamma, "ndim", 0) == 1
