"""Means of frame curves over attributions, for contrastive and group targets."""

from __future__ import annotations

from typing import Any

from torch import nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad.metrics.frames import frame_curve
from captum_ad.metrics.inputs import Inputs
from captum_ad.metrics.modular.mean import Mean, check
from captum_ad.targets.groups import Contrast, Group


class FrameScore(Mean):
    """Mean area under :func:`captum_ad.metrics.frame_curve`. Use one metric per kind of target.

    Parameters
    ----------
    baseline, batch_size
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from captum_ad import ADForward
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> metric = FrameScore()
    >>> metric.update(ADForward(model), torch.rand(1, 1, 4, 4), torch.rand(4, 4), Contrast(0, Group([1, 2])))
    >>> bool(metric.compute().isfinite())
    True
    """

    higher_is_better = True

    def __init__(self, *, baseline: Baseline | None = None, batch_size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check("softmax", batch_size)
        self.batch_size = batch_size
        self._baseline = (baseline,)  # in a tuple, so that a module is not registered as a submodule

    def update(
        self,
        forward_func: nn.Module,
        inputs: Inputs,
        attribution: Inputs,
        target: Contrast | Group | None = None,
        feature_mask: Inputs | None = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one attribution; arguments as for the function."""
        found = frame_curve(
            forward_func,
            inputs,
            attribution,
            target,
            baseline=self._baseline[0],
            additional_forward_args=additional_forward_args,
            feature_mask=feature_mask,
            batch_size=self.batch_size,
        )
        self._add(found.area)
