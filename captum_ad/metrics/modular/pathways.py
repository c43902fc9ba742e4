"""Means over explanations of how much they change the network's activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad.metrics.inputs import Inputs
from captum_ad.metrics.modular.mean import Mean
from captum_ad.metrics.pathways import OVER, activation_deviation
from captum_ad.metrics.scan import SufficientExplanation


class ActivationDeviation(Mean):
    """Mean over explanations and layers of the relative L2 from :func:`captum_ad.metrics.activation_deviation`.

    Parameters
    ----------
    layers, over, baseline
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU()).eval()
    >>> metric = ActivationDeviation(["0"], over="everywhere", baseline="zero")
    >>> metric.update(model, torch.ones(1, 1, 2, 2), torch.tensor([[True, True], [True, False]]))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(
        self, layers: Sequence[str], *, over: str = "explanation", baseline: Baseline | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(layers, str) or not layers:
            raise ValueError(f"layers must be a sequence of paths, at least one, got {layers!r}")
        if over not in OVER:
            raise ValueError(f"over must be one of {', '.join(map(repr, OVER))}, got {over!r}")
        self.layers, self.over = tuple(layers), over
        self._baseline = (baseline,)  # in a tuple, so that a module is not registered as a submodule

    def update(
        self,
        forward_func: nn.Module,
        inputs: Inputs,
        explanation: SufficientExplanation | Inputs,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one explanation; arguments as for the function."""
        found = activation_deviation(
            forward_func,
            inputs,
            explanation,
            self.layers,
            baseline=self._baseline[0],
            additional_forward_args=additional_forward_args,
            over=self.over,
        )
        self._add(found.mean, explanation)
