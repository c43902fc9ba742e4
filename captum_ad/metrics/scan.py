"""Scan along a ranking for a sufficient explanation, and the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_ad._forwards.answers import Answering
from captum_ad._scoring import Judge, Output, scored, whole_of
from captum_ad.metrics.curve import Curve
from captum_ad.metrics.ranking import Ranking
from captum_ad.targets.base import Target


@dataclass(frozen=True)
class ConfidenceCurve(Curve):
    """The target's confidence over the fraction of the input that is present (in a deletion curve: removed).

    Attributes
    ----------
    sizes, values : Tensor
        As in :class:`Curve`; the values are confidences.
    class_kept : Tensor
        Whether the target is the answer at each size, bool, shape (K,).
    """

    class_kept: Tensor


@dataclass(frozen=True)
class SufficientExplanation:
    """A part of the input that alone keeps the class (arXiv 2510.01038, Definition 1 and Section 5).

    Attributes
    ----------
    mask : Tensor, or tuple of Tensor
        bool, shape (*spatial), True = in the explanation; all False if none was found. For several inputs, one each.
    size : float
        Fraction of the positions, 0 to 1; NaN if not found.
    confidence : float
        Confidence in the target with the explanation alone; NaN if not found.
    found : bool
        Whether any prefix of the ranking is sufficient.
    gamma : float
        The threshold γ: the confidence is at least γ times the original one.
    target : int or Target
        What is explained: the class index, or another target.
    original_confidence : float
        Confidence in the target for the whole input.
    curve : ConfidenceCurve
        The confidences that the scan measured.
    """

    mask: Any
    size: float
    confidence: float
    found: bool
    gamma: float
    target: int | Target
    original_confidence: float
    curve: ConfidenceCurve

    def __repr__(self) -> str:
        numbers = f"size={self.size:.3g}, confidence={self.confidence:.3g}, gamma={self.gamma:g}"
        return f"{type(self).__name__}({numbers}, target={self.target!r}, found={self.found})"

    @property
    def empty(self) -> bool:
        """Whether the explanation is empty: the model predicts the target even with everything hidden."""
        return self.found and self.size == 0


class Scan:
    """The prefixes of one ranking, and their measurements."""

    def __init__(self, forward: Answering, x: Tensor, ranking: Ranking, judge: Judge, batch_size: int) -> None:
        self.forward, self.x, self.ranking, self.judge, self.batch_size = forward, x, ranking, judge, batch_size
        whole_of(forward, x, judge)
        if isinstance(judge.asked, Output):
            raise ValueError(
                "the model returns one number, and it is undefined when the answer is kept: use target=Binary() or "
                "Regression(tolerance=...) of captum_ad.targets"
            )
        # Copy the input, since some models write into it.
        confidence, kept = scored(lambda start, stop: forward.outputs(x.clone()), 1, judge, 1)
        self.original = confidence[0]
        if judge.asked.graded and float(self.original) < 0:
            raise ValueError(
                f"the confidence in {judge.asked} is {float(self.original):.3g} for the whole input, and γ times "
                f"a negative number is not a threshold. {self._remedy()}"
            )
        self.whole_kept = kept[0]
        self.counts = torch.tensor([len(ranking)], device=x.device)
        self.confidences, self.kept = confidence, kept  # of these counts: the whole input is the original

    def refuse_other_target(self) -> None:
        """Raise an error if the model does not predict the target for the whole input."""
        if not bool(self.whole_kept):
            raise ValueError(
                f"{self.judge.asked} is not the model's answer for this input (its confidence is "
                f"{float(self.original):.3g}), so no part of the input can keep it: {self.judge.asked.instead}, or "
                "pass allow_other_target=True"
            )

    def _remedy(self) -> str:
        if isinstance(self.judge.target, Target):
            return "The model's answer is the opposite: use another target"
        return "Pass a to_confidence that turns outputs into probabilities"

    def measure(self, counts: Sequence[int], progress: str | None = None) -> None:
        """Run prefixes and store the results, in order of their length."""
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
        """Narrow down where the threshold is reached, with a full batch of prefixes at a time."""
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
        """The measurements so far."""
        return ConfidenceCurve(self.ranking.sizes[self.counts], self.confidences.double(), self.kept)

    def explanation(self, gamma: float, curve: ConfidenceCurve, minimize: bool) -> SufficientExplanation:
        """The shortest sufficient prefix at a threshold, minimized if requested."""
        first = self._first(gamma)
        mask = torch.zeros_like(self.ranking.steps, dtype=torch.bool)
        size = confidence = math.nan
        if first is not None:
            mask, confidence = self.ranking.prefixes(self.counts[first])[0], float(self.confidences[first])
            if minimize:
                mask, confidence = self._minimized(int(self.counts[first]), gamma, confidence)
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
        return kept & (confidence >= gamma * self.original) if self.judge.asked.graded else kept

    def _minimized(self, count: int, gamma: float, confidence: float) -> tuple[Tensor, float]:
        """Remove steps of a prefix one by one. Results equal those of single trials, but trials run in batches."""
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
            output: Tensor = self.forward.outputs(
                self.x.expand(stop - start, *self.x.shape[1:]), mask=masks(start, stop)
            )
            return output

        return scored(run, count, self.judge, self.batch_size, progress)
