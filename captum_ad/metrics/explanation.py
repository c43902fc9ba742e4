"""Sufficient explanations: the smallest part of an input, along an attribution's ranking, that keeps the class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard, overload

import torch
from torch import Tensor, nn

from captum_ad.metrics.curve import Curve
from captum_ad.metrics.ranking import Ranking, ranked
from captum_ad.painted import Baseline, MaskedForward
from captum_ad.scoring import Judge, ToConfidence, batch_of, masked, scored, share

PAPER_GAMMAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""The confidence thresholds of the paper's experiments."""


@dataclass(frozen=True)
class ConfidenceCurve(Curve):
    """The target's confidence over the share of the input that is present (in a deletion curve: removed).

    Attributes
    ----------
    sizes, values : Tensor
        As of a :class:`Curve`; the values are confidences.
    class_kept : Tensor
        Whether the target is the answer there, bool, shape (K,).
    """

    class_kept: Tensor


@dataclass(frozen=True)
class SufficientExplanation:
    """A part of the input that alone keeps the class (arXiv 2510.01038, Definition 1 and Section 5).

    Attributes
    ----------
    mask : Tensor
        bool, shape (*spatial), True = in the explanation; nothing is where none was found.
    size : float
        Share of the positions, 0 to 1; NaN if not found.
    confidence : float
        Of the target with the explanation alone; NaN if not found.
    found : bool
        Whether any prefix of the ranking suffices.
    gamma : float
        The threshold: the confidence is at least that share of the original's.
    target : int
        The class.
    original_confidence : float
        Of the target for the whole input.
    curve : ConfidenceCurve
        What the scan measured.
    """

    mask: Tensor
    size: float
    confidence: float
    found: bool
    gamma: float
    target: int
    original_confidence: float
    curve: ConfidenceCurve


@overload
def sufficient_explanation(
    forward: nn.Module,
    x: Tensor,
    attribution: Tensor,
    target: int,
    gamma: float = ...,
    *,
    baseline: Baseline | None = ...,
    feature_mask: Tensor | None = ...,
    step: int | None = ...,
    search: str = ...,
    minimise: bool = ...,
    to_confidence: ToConfidence = ...,
    allow_other_target: bool = ...,
    batch_size: int | None = ...,
    show_progress: bool = ...,
) -> SufficientExplanation: ...


@overload
def sufficient_explanation(
    forward: nn.Module,
    x: Tensor,
    attribution: Tensor,
    target: int,
    gamma: Sequence[float],
    *,
    baseline: Baseline | None = ...,
    feature_mask: Tensor | None = ...,
    step: int | None = ...,
    search: str = ...,
    minimise: bool = ...,
    to_confidence: ToConfidence = ...,
    allow_other_target: bool = ...,
    batch_size: int | None = ...,
    show_progress: bool = ...,
) -> tuple[SufficientExplanation, ...]: ...


def sufficient_explanation(
    forward: nn.Module,
    x: Tensor,
    attribution: Tensor,
    target: int,
    gamma: float | Sequence[float] = 0.9,
    *,
    baseline: Baseline | None = None,
    feature_mask: Tensor | None = None,
    step: int | None = None,
    search: str = "scan",
    minimise: bool = False,
    to_confidence: ToConfidence = "softmax",
    allow_other_target: bool = False,
    batch_size: int | None = None,
    show_progress: bool = False,
) -> SufficientExplanation | tuple[SufficientExplanation, ...]:
    """The smallest prefix of an attribution's ranking that alone keeps the class, confident enough.

    Prefixes run from nothing to the whole input. One is sufficient if the target is still the
    answer (its confidence above every other class's), at a confidence of at least γ times the
    original's. Several γ share one scan.

    Parameters
    ----------
    forward : nn.Module
        An ADForward, or the plain model together with `baseline`; in eval mode.
    x : Tensor
        One input, shape (1, C, *spatial).
    attribution : Tensor
        Its attribution, shape of `x`, or with one channel, or without the batch dimension. Channels
        are added up; ties are broken in row-major order.
    target : int
        The class.
    gamma : float or sequence of float
        Threshold γ in [0, 1]; the paper's are :data:`PAPER_GAMMAS`.
    baseline : str, float, Tensor or callable, optional
        What a plain model's missing features are painted with: ``"zero"``, ``"min"``, ``"max"``, ``"avg"``,
        ``"blur"``, ``"inpaint"`` or ``"linear"``, a value, a tensor, or a function of (x, mask).
    feature_mask : Tensor, optional
        Integer labels, shape (*spatial) or with leading dimensions of 1: the ranking's unit is then a
        group, by its mean attribution, and not a position.
    step : int, optional
        Units that appear per step of the scan: 1 is exact to the unit. Default: one group, or one per
        cent of the positions.
    search : {"scan", "bisection"}
        ``"scan"`` runs every prefix: one forward per step. ``"bisection"`` takes confidence to grow along
        the ranking, which it need not: approximate, and the curve has only the points that were looked at.
    minimise : bool
        Afterwards leave out steps, the lowest ranked first, as long as the rest suffices, until no
        single one can go (EXIC2 of Definition 1, in units of a step). The result is no prefix then.
    to_confidence : str or callable
        From the model's output (N, classes) to confidences: ``"softmax"``, ``"sigmoid"``, ``"none"`` for a
        model that ends in one, or a function.
    allow_other_target : bool
        Accept a target that is not the model's answer for `x`. It may never be found then.
    batch_size : int, optional
        Prefixes per forward, which bounds the memory. Default: 4 on the CPU, else 32.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    SufficientExplanation or tuple of SufficientExplanation
        One, or one per γ in the order given.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, the attribution holds NaN, or the model's answer for `x` is
        not `target`.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0., 0, 0, 0], [3, 0, 0, 0]]))
    >>> x = torch.ones(1, 1, 2, 2)
    >>> found = sufficient_explanation(model, x, torch.tensor([[4., 3], [2, 1]]), 1, gamma=0.9, baseline="zero")
    >>> found.size, found.mask.tolist()
    (0.25, [[True, False], [False, False]])
    """
    gammas = _checked_gammas(gamma)
    if search not in ("scan", "bisection"):
        raise ValueError(f'search must be "scan" or "bisection", got {search!r}')
    runner = masked(forward, baseline)
    ranking = ranked(attribution, x, feature_mask=feature_mask, step=step)
    scan = _Scan(runner, x, ranking, Judge(target, to_confidence), batch_of(batch_size, x.device))
    if not allow_other_target:
        scan.refuse_other_target()
    if search == "scan":
        scan.measure(range(len(ranking)), "Sufficient explanation" if show_progress else None)
    else:
        for one in gammas:
            scan.bisect(one)
    curve = scan.curve()
    explanations = tuple(scan.explanation(one, curve, minimise) for one in gammas)
    return explanations if _several(gamma) else explanations[0]


class _Scan:
    """The prefixes of one ranking, and what was measured of them."""

    def __init__(self, forward: MaskedForward, x: Tensor, ranking: Ranking, judge: Judge, batch_size: int) -> None:
        self.forward, self.x, self.ranking, self.judge, self.batch_size = forward, x, ranking, judge, batch_size
        # A copy: some models write into their input.
        confidence, kept = scored(lambda start, stop: forward(x.clone()), 1, judge, 1)
        self.original = confidence[0]
        if float(self.original) < 0:
            raise ValueError(
                f"the confidence of class {judge.target} is {float(self.original):.3g} for the whole input: a share of "
                "a negative number is no threshold. Pass a to_confidence that makes probabilities of the outputs"
            )
        self.whole_kept = kept[0]
        self.counts = torch.tensor([len(ranking)], device=x.device)
        self.confidences, self.kept = confidence, kept  # of these counts: the whole input is the original

    def refuse_other_target(self) -> None:
        if not bool(self.whole_kept):
            raise ValueError(
                f"class {self.judge.target} is not the model's answer for this input (its confidence is "
                f"{float(self.original):.3g}), so no part of it can keep it: explain the predicted class, or pass "
                "allow_other_target=True"
            )

    def measure(self, counts: Sequence[int], progress: str | None = None) -> None:
        """Run prefixes and remember the results, in order of their length."""
        if not counts:
            return
        wanted = torch.tensor(counts, device=self.x.device)
        confidence, kept = self._run(
            lambda start, stop: self.ranking.prefixes(wanted[start:stop]), len(wanted), progress
        )
        order = torch.cat([self.counts, wanted]).argsort()
        self.counts = torch.cat([self.counts, wanted])[order]
        self.confidences = torch.cat([self.confidences, confidence])[order]
        self.kept = torch.cat([self.kept, kept])[order]

    def bisect(self, gamma: float) -> None:
        """Narrow down where a threshold is passed, by a full batch of prefixes at a time."""
        while True:
            first = self._first(gamma)
            high = int(self.counts[first]) if first is not None else len(self.ranking)
            below = self.counts[self.counts < high]
            low = int(below.max()) if len(below) else -1
            if high - low < 2:
                return
            spaced = torch.linspace(low, high, self.batch_size + 2).round().long().unique()
            self.measure([int(count) for count in spaced if low < count < high])

    def curve(self) -> ConfidenceCurve:
        return ConfidenceCurve(self.ranking.sizes[self.counts], self.confidences.double(), self.kept)

    def explanation(self, gamma: float, curve: ConfidenceCurve, minimise: bool) -> SufficientExplanation:
        first = self._first(gamma)
        mask = torch.zeros_like(self.ranking.steps, dtype=torch.bool)
        size = confidence = math.nan
        if first is not None:
            mask, confidence = self.ranking.prefixes(self.counts[first])[0], float(self.confidences[first])
            if minimise:
                mask, confidence = self._minimised(int(self.counts[first]), gamma, confidence)
            size = float(mask.double().mean())
        original = float(self.original)
        return SufficientExplanation(
            mask, size, confidence, first is not None, gamma, self.judge.target, original, curve
        )

    def _first(self, gamma: float) -> int | None:
        """Index of the shortest sufficient prefix among those measured."""
        found = self._suffices(self.confidences, self.kept, gamma).nonzero()
        return int(found[0]) if len(found) else None

    def _suffices(self, confidence: Tensor, kept: Tensor, gamma: float) -> Tensor:
        return kept & (confidence >= gamma * self.original)

    def _minimised(self, count: int, gamma: float, confidence: float) -> tuple[Tensor, float]:
        """Leave out steps of a prefix one by one, as if each were tried alone, but a batch of trials per forward."""
        steps = self.ranking.steps
        inside = torch.arange(len(self.ranking), device=steps.device) < count
        dropped_any = True
        while dropped_any:
            dropped_any = False
            candidates, next_one = inside.nonzero().flatten().flip(0), 0
            while next_one < len(candidates):
                tried = candidates[next_one : next_one + self.batch_size]
                variants = inside.repeat(len(tried), 1)
                variants[torch.arange(len(tried)), tried] = False
                scores = self._run(lambda start, stop: variants[start:stop][:, steps], len(tried))  # noqa: B023
                able = self._suffices(*scores, gamma).nonzero()
                if not len(able):
                    next_one += len(tried)
                    continue
                chosen = int(able[0])
                inside, confidence, dropped_any = variants[chosen], float(scores[0][chosen]), True
                next_one += chosen + 1
        return inside[steps], confidence

    def _run(
        self, masks: Callable[[int, int], Tensor], count: int, progress: str | None = None
    ) -> tuple[Tensor, Tensor]:
        def run(start: int, stop: int) -> Tensor:
            output: Tensor = self.forward(self.x.expand(stop - start, *self.x.shape[1:]), mask=masks(start, stop))
            return output

        return scored(run, count, self.judge, self.batch_size, progress)


def _checked_gammas(gamma: float | Sequence[float]) -> list[float]:
    gammas = list(gamma) if _several(gamma) else [gamma]
    if not gammas:
        raise ValueError("gamma is an empty sequence: give one threshold at least")
    return [share(one, "gamma") for one in gammas]


def _several(gamma: float | Sequence[float]) -> TypeGuard[Sequence[float]]:
    return isinstance(gamma, Sequence) or getattr(gamma, "ndim", 0) == 1
