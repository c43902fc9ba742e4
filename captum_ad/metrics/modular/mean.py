"""Base classes of the torchmetrics metrics, which are means of one number per update."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Judge, ToConfidence, batch_of
from captum_ad.metrics.inputs import Inputs
from captum_ad.metrics.scan import SufficientExplanation

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = needed("torchmetrics", "torchmetrics", "metrics").Metric


class Mean(Metric):
    """The mean of one number per update, NaN before the first.

    Attributes
    ----------
    empty : Tensor
        Number of empty explanations left out, int64. The model predicts their class even if everything is hidden.
    """

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor
    empty: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("empty", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        # A MetricCollection updates metrics with equal states only once. NaN equals nothing, so this prevents it.
        self.add_state("apart", torch.tensor(math.nan, dtype=torch.float64), dist_reduce_fx="max")
        self._latest = math.nan

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Update, and return the value of this call. A call that raises an error leaves the metric unchanged."""
        self.update(*args, **kwargs)
        return torch.tensor(self._latest, dtype=torch.float64, device=self.device)

    def _add(self, value: float, explanation: SufficientExplanation | Inputs | None = None) -> None:
        masks = explanation.mask if isinstance(explanation, SufficientExplanation) else explanation
        each = masks if isinstance(masks, tuple) else (masks,)
        if any(mask is None or bool(mask.any()) for mask in each):
            self.total += value
            self.count += 1
        else:
            self.empty += 1
        self._latest = value

    def compute(self) -> Tensor:
        """The mean over all updates, a scalar, float64."""
        return self.total / self.count


class OfForward(Mean):
    """Base class of metrics that take an ADForward, or a plain model with a baseline."""

    def __init__(
        self, *, baseline: Baseline | None = None, to_confidence: ToConfidence = "softmax", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check(to_confidence, None)
        self._baseline, self.to_confidence = (
            (baseline,),
            to_confidence,
        )  # in a tuple, so that a module is not registered as a submodule

    @property
    def baseline(self) -> Baseline | None:
        """The baseline for missing features of a plain model."""
        return self._baseline[0]


def check(to_confidence: ToConfidence, batch_size: int | None) -> None:
    """Check settings when a metric is constructed, not at its first update."""
    Judge(0, to_confidence)
    batch_of(batch_size, torch.device("cpu"))
