"""Faithfulness for contrastive and group targets: why this and not that, and why any of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Judge, asking, batch_of, masked, scored, share
from captum_ad.metrics.curve import Curve
from captum_ad.metrics.inputs import Inputs, posed, with_arguments
from captum_ad.metrics.ranking import ranked
from captum_ad.targets.base import Target
from captum_ad.targets.groups import Contrast, Group

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Fractions of the input to mask, highest attribution first."""


@dataclass(frozen=True)
class FrameCurve(Curve):
    """How much a target's value drops when the top of a map is masked.

    Attributes
    ----------
    sizes : Tensor
        Masked fractions of the positions, increasing, float64, shape (K,).
    values : Tensor
        The drop: the target's value for the whole input minus that with the top masked, float64, shape (K,). Its
        ``area``, the mean height, is the metric; larger is better.
    whole : float
        The target's value for the whole input: a probability, or a difference of two.
    kind : str
        Which of the paper's four metrics this is, given by the target: ``"contrastive class"``, ``"pointwise group"``,
        ``"contrastive group to class"``, ``"contrastive group to group"``; or another one, see :func:`kind_of`.
    """

    whole: float
    kind: str


def frame_curve(
    forward_func: nn.Module,
    inputs: Inputs,
    attribution: Inputs,
    target: Contrast | Group | None = None,
    *,
    baseline: Baseline | None = None,
    additional_forward_args: Any = None,
    feature_mask: Inputs | None = None,
    alphas: Sequence[float] = ALPHAS,
    batch_size: int | None = None,
) -> FrameCurve:
    """How much a contrastive or group target depends on the top of a map. Larger is better.

    From *Rethinking Saliency Maps: A Cognitive Human Aligned Taxonomy and Evaluation Framework for Explanations*
    (2025). Its four metrics are areas over α = 0.1 … 0.9 with the top α masked: pointwise for a group, and contrastive
    between two classes, a group and a class, or two groups. For a :class:`~captum_ad.targets.Group` G the drop is
    ``P_G(x) − P_G(x without its top α)``. For a :class:`~captum_ad.targets.Contrast` of a and b, the question "why a
    and not b" is a difference, and the drop ``(P_a − P_b)(x) − (P_a − P_b)(x without its top α)`` is what a loses
    beyond what b does.

    We know only the source's abstract and the metrics' names. Our reading: P of a group is the sum of its classes'
    probabilities; the area is divided by its range, 0.8; masking is by your ADForward or baseline.

    Parameters
    ----------
    forward_func, inputs, attribution, baseline, additional_forward_args, feature_mask, batch_size
        As for :func:`sufficient_explanation`.
    target : Contrast or Group, optional
        The target, which selects the metric; None if `forward_func` has one.
    alphas : sequence of float
        Fractions to mask, at least two, increasing, in (0, 1].

    Returns
    -------
    FrameCurve
        Its ``area`` is the metric: from −2 to 2 for a Contrast, from −1 to 1 for a Group.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid, or the target is neither a Contrast nor a Group.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[9.0, 0, 0, 0], [0, 9, 0, 0]])), model[1].bias.data.zero_()
    >>> x = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    >>> good, bad = torch.tensor([[4.0, 3], [2, 1]]), torch.tensor([[1.0, 2], [3, 4]])
    >>> for attribution in (good, bad):
    ...     curve = frame_curve(model, x, attribution, Contrast(0, 1), baseline="zero", alphas=[0.5, 0.75])
    ...     print(curve.kind, round(curve.area, 2))
    contrastive class 1.0
    contrastive class 0.0
    """
    asked, judge = asking(masked(with_arguments(forward_func, additional_forward_args), baseline), target)
    question = judge.asked
    if not isinstance(question, (Contrast, Group)):
        raise TypeError(
            f"expected a Contrast or a Group of captum_ad.targets, got {question!r}: for a single class use "
            "deletion_curve"
        )
    shares = _growing(alphas)
    runner, shown, values, labels, _ = posed(asked, inputs, attribution, feature_mask)
    ranking = ranked(values, shown, feature_mask=labels, step=1)
    counts = torch.stack([(ranking.sizes - one).abs().argmin() for one in (0.0, *shares)])

    def run(start: int, stop: int) -> Any:
        absent = ranking.prefixes(counts[start:stop])
        return runner.outputs(shown.expand(stop - start, *shown.shape[1:]), mask=~absent)

    found, _ = scored(run, len(counts), Judge(_Probabilities(question)), batch_of(batch_size, shown.device))
    whole, drops = float(found[0]), (found[0] - found[1:]).double()
    return FrameCurve(ranking.sizes[counts[1:]], drops, whole, kind_of(question))


def kind_of(target: Contrast | Group) -> str:
    """The kind of metric that a target selects.

    Examples
    --------
    >>> kind_of(Contrast(0, Group([1, 2]))), kind_of(Group([1, 2]))
    ('contrastive class to group', 'pointwise group')
    """
    if isinstance(target, Group):
        return "pointwise group" if len(target.indices) > 1 else "pointwise class"
    sides = ["class" if len(side.indices) == 1 else "group" for side in (target.a, target.b)]
    return "contrastive class" if sides == ["class", "class"] else f"contrastive {sides[0]} to {sides[1]}"


class _Probabilities(Target):
    """The probability of a group, or the difference between two groups."""

    def __init__(self, question: Contrast | Group) -> None:
        self.question = question

    def score(self, readout: Any) -> Tensor:
        """The probability or difference, shape (N,)."""
        if isinstance(self.question, Group):
            return self.question.confidence(readout)
        return self.question.a.confidence(readout) - self.question.b.confidence(readout)

    def kept(self, readout: Any) -> Tensor:
        """Whether the target's answer is kept, shape (N,)."""
        return self.question.kept(readout)


def _growing(alphas: Sequence[float]) -> list[float]:
    shares = [share(one, "a share that is masked") for one in alphas]
    if len(shares) < 2 or shares[0] == 0 or any(a >= b for a, b in pairwise(shares)):
        raise ValueError(f"alphas must be at least two fractions above 0, in increasing order, got {list(alphas)}")
    return shares
