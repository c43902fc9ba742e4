"""ρ-robustness: how often the class is kept if an explanation is planted on other backgrounds (Definition 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._scoring import Asked, Judge, ToConfidence, asking, in_eval_mode, one_input, plain, share, whole_of
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds, OtherClassImages
from captum_ad.metrics.curve import Curve
from captum_ad.metrics.inputs import Inputs, row_of, with_arguments
from captum_ad.metrics.packing import Grounds, packed
from captum_ad.metrics.planting import planted_scores
from captum_ad.metrics.ranking import ranked
from captum_ad.metrics.scan import SufficientExplanation

EQUAL_SIZES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Default sizes for a curve of ρ."""


@dataclass(frozen=True)
class Robustness:
    """The plain model's results for one explanation on many backgrounds.

    Attributes
    ----------
    rho : float
        ρ: fraction of the backgrounds on which the target is the answer, 0 to 1.
    confidence : float
        Confidence in the target, averaged over the backgrounds.
    class_kept : Tensor
        Whether the target is the answer on each background, bool, shape (n,).
    n : int
        Number of backgrounds.
    excluded : int
        Number of candidates left out because the model predicts the target for them without any explanation.
    empty : bool
        Whether the explanation is empty, so that ρ is that of the backgrounds alone.
    """

    rho: float
    confidence: float
    class_kept: Tensor
    n: int
    excluded: int
    empty: bool = False


@dataclass(frozen=True)
class RhoCurve(Curve):
    """ρ over the size of an explanation, along a ranking.

    Attributes
    ----------
    sizes, values : Tensor
        As in :class:`Curve`; the values are ρ.
    confidences : Tensor
        Mean confidence in the target on the backgrounds, float64, shape (K,).
    n, excluded : int
        As in :class:`Robustness`.
    """

    confidences: Tensor
    n: int
    excluded: int


def rho_robustness(
    model: nn.Module,
    inputs: Inputs,
    explanation: SufficientExplanation | Inputs,
    target: Asked,
    backgrounds: Grounds,
    *,
    additional_forward_args: Any = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> Robustness:
    """ρ-robustness of an explanation (arXiv 2510.01038, Definition 2).

    The explanation's pixels are planted on each background, and the plain model classifies the
    composites: ρ is the fraction classified as the target. Nothing is masked.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode. An ADForward runs like its model.
    inputs : Tensor or tuple of Tensor
        The explained input, shape (1, C, *spatial) or (1, T), or several. Pass the model's other inputs, which do not
        change, as additional_forward_args.
    explanation : SufficientExplanation, Tensor or tuple of Tensor
        The explanation, or its mask, bool, True = in the explanation, shape (*spatial) or with leading dimensions of 1;
        for several inputs a tuple of masks.
    target : int, Target or None
        The class index, or one of :mod:`captum_ad.targets`; None if `model` is a forward with a target.
    backgrounds : Backgrounds or DrawnBackgrounds
        E.g. :class:`SolidColors`; or the result of its ``draw``, to plant several explanations on the same backgrounds.
        For several inputs, one for all or a tuple with one per input; all inputs are planted at once, each on its own
        backgrounds.
    additional_forward_args : Any
        Passed to the model after the inputs.
    to_confidence : str or callable
        As for :func:`sufficient_explanation`.
    batch_size : int, optional
        Composites per forward, which bounds memory. Default: 4 on the CPU, else 32.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    Robustness
        ρ and more. Report the explanation's size together with ρ.

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, no background is left, or the explanation was not found.

    Examples
    --------
    >>> from captum_ad.metrics import SolidColors
    >>> darkness = torch.nn.Linear(4, 2).eval()  # class 1 if the first pixel is below 0.5
    >>> _ = darkness.weight.data.copy_(torch.tensor([[1., 0, 0, 0], [-1, 0, 0, 0]]))
    >>> _ = darkness.bias.data.copy_(torch.tensor([-0.5, 0.5]))
    >>> model, x = torch.nn.Sequential(torch.nn.Flatten(), darkness).eval(), torch.zeros(1, 1, 2, 2)
    >>> mask = torch.tensor([[True, False], [False, False]])
    >>> rho_robustness(model, x, mask, 1, SolidColors(n=20)).rho
    1.0
    """
    in_eval_mode(model)
    mask = explanation_mask(explanation, inputs)
    model = with_arguments(model, additional_forward_args)
    model, inputs, masks, backgrounds = packed(model, inputs, mask[None], backgrounds)
    drawn, judge = _prepared(model, inputs, target, backgrounds, to_confidence, batch_size)
    progress = "ρ-robustness" if show_progress else None
    kept, confidence = planted_scores(model, inputs, masks, drawn, judge, batch_size, progress)
    rho, mean = float(kept.double().mean()), float(confidence.double().mean())
    return Robustness(rho, mean, kept[0], drawn.n, drawn.excluded, not bool(mask.any()))


def rho_curve(
    model: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Asked,
    backgrounds: Grounds,
    sizes: Sequence[float] = EQUAL_SIZES,
    *,
    additional_forward_args: Any = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> RhoCurve:
    """ρ over the size of the explanation, which consists of the highest positions of an attribution.

    Sufficient explanations differ in size between attributions and maskings; at equal size, attributions
    can be compared.

    Parameters
    ----------
    model, inputs, target, backgrounds, additional_forward_args, to_confidence, batch_size, show_progress
        As for :func:`rho_robustness`.
    attribution : Tensor or tuple of Tensor
        Attribution of `inputs`, ranked as for :func:`sufficient_explanation` with ``step=1``.
    sizes : sequence of float
        Fractions of the positions, 0 to 1, rounded to whole positions.

    Returns
    -------
    RhoCurve
        At the given sizes, in increasing order: ``curve.at(0.3)``, ``curve.area``.

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, a size is not in [0, 1], or no background is left.
    """
    in_eval_mode(model)
    sizes = sorted({share(size, "a size") for size in sizes})
    masks = equal_size_masks(attribution, inputs, sizes)
    model = with_arguments(model, additional_forward_args)
    model, inputs, masks, backgrounds = packed(model, inputs, masks, backgrounds)
    drawn, judge = _prepared(model, inputs, target, backgrounds, to_confidence, batch_size)
    progress = "ρ over size" if show_progress else None
    kept, confidence = planted_scores(model, inputs, masks, drawn, judge, batch_size, progress)
    measured = torch.tensor(sizes, dtype=torch.float64, device=inputs.device)
    means = kept.double().mean(1), confidence.double().mean(1)
    return RhoCurve(measured, *means, drawn.n, drawn.excluded)


def equal_size_masks(attribution: Inputs, x: Inputs, sizes: Sequence[float]) -> Tensor:
    """Masks of the highest positions of an attribution, for given fractions of all positions.

    Parameters
    ----------
    attribution, x : Tensor
        As for :func:`sufficient_explanation`.
    sizes : sequence of float
        Fractions, 0 to 1, rounded to whole positions.

    Returns
    -------
    Tensor
        bool, shape (sizes, *spatial), or (sizes, positions) for the row of several inputs.

    Raises
    ------
    ValueError
        If a shape does not fit, or a size is not in [0, 1].
    """
    if len(sizes) == 0:
        raise ValueError("sizes is an empty sequence: give at least one size")
    shares = [share(size, "a size") for size in sizes]
    row = row_of(x)
    values, places = (attribution, x) if row is None else (row.values(attribution), row.positions)
    assert isinstance(values, Tensor)
    assert isinstance(places, Tensor)
    ranking = ranked(values, places, step=1)
    counts = [round(size * len(ranking)) for size in shares]
    return ranking.prefixes(torch.tensor(counts, device=places.device))


def _prepared(
    model: nn.Module,
    x: Tensor,
    target: Asked,
    backgrounds: Backgrounds | DrawnBackgrounds,
    to_confidence: ToConfidence,
    batch_size: int | None,
) -> tuple[DrawnBackgrounds, Judge]:
    one_input(x)
    forward, judge = asking(plain(model), target, to_confidence)
    whole_of(forward, x, judge)
    if not judge.asked.decides:
        raise ValueError(
            "ρ is how often the answer is kept on other backgrounds, but the target does not define when it is kept: "
            "give it a threshold, Similarity(reference, 0.8), or use Binary() or Regression(tolerance=...)"
        )
    drawn = (
        backgrounds
        if isinstance(backgrounds, DrawnBackgrounds)
        else _of_same_meaning(backgrounds, to_confidence).draw(
            forward.with_target(None), x, judge.target, batch_size=batch_size
        )
    )
    if drawn.n < 1:
        raise ValueError("got no backgrounds to plant the explanation on, expected at least one")
    return drawn, judge


def _of_same_meaning(backgrounds: Backgrounds, to_confidence: ToConfidence) -> Backgrounds:
    """Backgrounds of a data set, with the explanation's `to_confidence` unless they have their own."""
    if isinstance(backgrounds, OtherClassImages) and backgrounds.to_confidence == "softmax":
        return replace(backgrounds, to_confidence=to_confidence)
    return backgrounds


def explanation_mask(explanation: SufficientExplanation | Inputs, x: Inputs) -> Tensor:
    """The explanation's mask, bool, shape (*spatial), on the device of `x`; for several inputs, concatenated."""
    row = row_of(x)
    if isinstance(explanation, SufficientExplanation):
        if not explanation.found:
            raise ValueError("no sufficient explanation was found, so it has no mask: check .found first")
        explanation = explanation.mask
    if row is not None:
        return row.row(explanation).to(row.inputs[0].device)
    assert isinstance(x, Tensor)
    spatial = tuple(x.shape[2:])
    if not isinstance(explanation, Tensor) or explanation.dtype != torch.bool:
        what = explanation.dtype if isinstance(explanation, Tensor) else type(explanation).__name__
        raise TypeError(f"expected a SufficientExplanation or a bool mask, True = in the explanation, got {what}")
    shape = tuple(explanation.shape)
    if shape[-len(spatial) :] != spatial or any(n != 1 for n in shape[: -len(spatial)]):
        raise ValueError(f"the explanation's mask has shape {shape}, expected {spatial}")
    return explanation.to(x.device).reshape(spatial)
