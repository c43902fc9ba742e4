"""Means over attributions of how well they localize the object, and over images of the effect of hiding it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence
from captum_ad.metrics.controls import checked_controls, object_drop
from captum_ad.metrics.localization import checked_tolerance, energy_pointing_game, grid_pointing_game, pointing_game
from captum_ad.metrics.modular.mean import Mean, OfForward, check
from captum_ad.metrics.places import Box, Grid, checked_grid


class PointingGame(Mean):
    """Fraction of attributions whose maximum is on the object: :func:`captum_ad.metrics.pointing_game`.

    Parameters
    ----------
    tolerance : float
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True

    def __init__(self, *, tolerance: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checked_tolerance(tolerance)
        self.tolerance = tolerance

    def update(self, attribution: Tensor, inside: Tensor | Box) -> None:
        """Add one attribution; arguments as for the function."""
        self._add(float(pointing_game(attribution, inside, tolerance=self.tolerance)))


class EnergyPointingGame(Mean):
    """Mean fraction of the positive attribution on the object: :func:`captum_ad.metrics.energy_pointing_game`.

    Parameters
    ----------
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True

    def update(self, attribution: Tensor, inside: Tensor | Box) -> None:
        """Add one attribution; arguments as for the function."""
        self._add(energy_pointing_game(attribution, inside))


class GridPointingGame(Mean):
    """Mean fraction of the positive attribution in the class's cell: :func:`captum_ad.metrics.grid_pointing_game`.

    Parameters
    ----------
    grid : (rows, columns)
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> metric = GridPointingGame(grid=(1, 2))
    >>> metric.update(torch.ones(3, 4, 4), 0)
    >>> metric.update(torch.eye(4)[:, :2].repeat(1, 2).triu(2), 1)
    >>> metric.compute()
    tensor(0.7500, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, grid: Grid = (2, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checked_grid(grid)
        self.grid = grid

    def update(self, attribution: Tensor, cell: int) -> None:
        """Add one attribution of a collage; arguments as for the function."""
        self._add(grid_pointing_game(attribution, cell, self.grid))


class SpecificDrop(OfForward):
    """Mean of how much more the confidence drops if the object is hidden than if an equal area elsewhere is.

    Parameters
    ----------
    controls, seed, baseline, to_confidence, batch_size
        As for :func:`captum_ad.metrics.object_drop`; this is the mean of its ``.specific``.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True

    def __init__(
        self,
        *,
        controls: int = 4,
        seed: int = 0,
        baseline: Baseline | None = None,
        to_confidence: ToConfidence = "softmax",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(baseline=baseline, to_confidence=to_confidence, **kwargs)
        check(to_confidence, batch_size)
        checked_controls(controls)
        self.controls, self.seed, self.batch_size = controls, seed, batch_size

    def update(self, forward_func: nn.Module, inputs: Tensor, inside: Tensor | Box, target: Asked = None) -> None:
        """Add one image; arguments as for the function. Raises ValueError if there is no place for a control."""
        found = object_drop(
            forward_func,
            inputs,
            inside,
            target,
            baseline=self.baseline,
            controls=self.controls,
            seed=self.seed,
            to_confidence=self.to_confidence,
            batch_size=self.batch_size,
        )
        if not len(found.control_hidden):
            raise ValueError("the object is too large, so there is no place for a control: leave this image out")
        self._add(found.specific)
