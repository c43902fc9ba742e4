"""Robustness to noise over many images: means over two kinds of samples, and their product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_ad._common.extras import needed
from captum_ad.metrics.noise import LEVELS, Attribute, checked_levels, checked_noises, noise_responses, similarity_named
from captum_ad.metrics.noises import NOISES

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = needed("torchmetrics", "torchmetrics", "metrics").Metric


class NoiseRobustness(Metric):
    """Consistency times responsiveness of attributions under noise: :func:`captum_ad.metrics.noise_robustness`.

    Parameters
    ----------
    noises, levels, mean, std, similarity, p, seed
        As for :func:`captum_ad.metrics.noise_responses`.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Attributes
    ----------
    kept, changed, undefined : Tensor
        Number of samples that kept their class, that changed it, and that have no similarity, int64.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    >>> metric = NoiseRobustness(["contrast"], [1])
    >>> metric.update(model, torch.rand(1, 3, 4, 4), lambda x, target: x, feature_mask=torch.arange(4).repeat(4, 1))
    >>> int(metric.kept + metric.changed)
    1
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    alike: Tensor
    alike_changed: Tensor
    kept: Tensor
    changed: Tensor
    undefined: Tensor

    def __init__(
        self,
        noises: Sequence[str] | None = None,
        levels: Sequence[int] = LEVELS,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        similarity: str = "rbo",
        p: float = 0.9,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        similarity_named(similarity, p)
        self.noises = list(NOISES) if noises is None else checked_noises(noises)
        self.levels = checked_levels(levels)
        self.settings = {"mean": mean, "std": std, "similarity": similarity, "p": p, "seed": seed}
        for name in ("alike", "alike_changed"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("kept", "changed", "undefined"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        # A MetricCollection updates metrics with equal states only once. NaN equals nothing, so this prevents it.
        self.add_state("apart", torch.tensor(math.nan, dtype=torch.float64), dist_reduce_fx="max")

    def update(
        self, model: nn.Module, inputs: Tensor, attribute: Attribute, feature_mask: Tensor | None = None
    ) -> None:
        """Add one image; arguments as for :func:`captum_ad.metrics.noise_responses`."""
        found = noise_responses(
            model,
            inputs,
            attribute,
            self.noises,
            self.levels,
            feature_mask=feature_mask,
            **self.settings,  # type: ignore[arg-type]
        )
        for one in found:
            if math.isnan(one.similarity):
                self.undefined += 1
            elif one.class_kept:
                self.alike += one.similarity
                self.kept += 1
            else:
                self.alike_changed += one.similarity
                self.changed += 1

    @property
    def consistency(self) -> Tensor:
        """The mean similarity over samples that kept their class; NaN if there is none."""
        return self.alike / self.kept

    @property
    def responsiveness(self) -> Tensor:
        """One minus the mean similarity over samples whose class changed; NaN if there is none."""
        return 1 - self.alike_changed / self.changed

    def compute(self) -> Tensor:
        """Consistency times responsiveness, a scalar, float64; NaN if either is."""
        return self.consistency * self.responsiveness
