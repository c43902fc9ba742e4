"""Mean correlation of attention with attribution, over inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_ad.metrics.attention_agreement import CORRELATIONS, attention_correlation
from captum_ad.metrics.modular.mean import Mean


class AttentionCorrelation(Mean):
    """Mean over inputs of ``averaged`` from :func:`captum_ad.metrics.attention_correlation`.

    Inputs with constant attention or attribution are left out and counted in ``empty``.

    Parameters
    ----------
    query, grid, special, correlation
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Examples
    --------
    >>> metric = AttentionCorrelation(query=0)
    >>> metric.update({"layer": torch.tensor([[[[0.5, 0.3, 0.2]]]])}, torch.tensor([[[3.0, 1.0, 0.0]]]))
    >>> round(float(metric.compute()), 6)
    1.0
    """

    higher_is_better = None

    def __init__(
        self,
        *,
        query: int | None = None,
        grid: Sequence[int] | None = None,
        special: int | None = None,
        correlation: str = "pearson",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if correlation not in CORRELATIONS:
            raise ValueError(f"correlation must be one of {', '.join(map(repr, CORRELATIONS))}, got {correlation!r}")
        self.query, self.special, self.correlation = query, special, correlation
        self.grid = None if grid is None else tuple(grid)

    def update(self, attentions: Mapping[str, Tensor], attribution: Tensor) -> None:
        """Add one input; arguments as for the function."""
        found = attention_correlation(
            attentions,
            attribution,
            query=self.query,
            grid=self.grid,
            special=self.special,
            correlation=self.correlation,
        ).averaged
        self._add(found, torch.tensor([not math.isnan(found)]))
