"""Means over explanations and attributions of how they affect the model's confidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds
from captum_ad.metrics.confidence import confidence_drop_off, confidence_kept, explanation_size
from captum_ad.metrics.inputs import Inputs
from captum_ad.metrics.insertion import deletion_curve, insertion_curve
from captum_ad.metrics.modular.mean import Mean, OfForward, check
from captum_ad.metrics.robustness import Robustness, rho_robustness
from captum_ad.metrics.scan import ConfidenceCurve, SufficientExplanation


class OnBackgrounds(Mean):
    """Base class of metrics that plant explanations on backgrounds."""

    higher_is_better = True

    def __init__(
        self,
        backgrounds: Backgrounds | None = None,
        *,
        to_confidence: ToConfidence = "softmax",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if backgrounds is not None and not hasattr(backgrounds, "draw"):
            raise TypeError(f"expected backgrounds such as SolidColors(), got {type(backgrounds).__name__}")
        check(to_confidence, batch_size)
        self.backgrounds, self.to_confidence, self.batch_size = backgrounds, to_confidence, batch_size

    def _planted(
        self,
        model: nn.Module,
        x: Tensor,
        explanation: SufficientExplanation | Tensor,
        target: Asked,
        backgrounds: Backgrounds | DrawnBackgrounds | None,
        additional_forward_args: Any,
    ) -> Robustness:
        drawn = self.backgrounds if backgrounds is None else backgrounds
        if drawn is None:
            raise ValueError(f"{type(self).__name__} has no backgrounds: pass them to its constructor or to update()")
        return rho_robustness(
            model,
            x,
            explanation,
            target,
            drawn,
            additional_forward_args=additional_forward_args,
            to_confidence=self.to_confidence,
            batch_size=self.batch_size,
        )


class RhoRobustness(OnBackgrounds):
    """Mean ρ-robustness of explanations: :func:`captum_ad.metrics.rho_robustness`.

    Parameters
    ----------
    backgrounds : Backgrounds, optional
        Source of backgrounds, if `update` gets none.
    to_confidence, batch_size
        As for the function.
    **kwargs
        Arguments of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from captum_ad.metrics import SolidColors
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
    >>> metric = RhoRobustness(SolidColors(n=10))
    >>> x, whole = torch.rand(1, 1, 2, 2), torch.ones(2, 2, dtype=torch.bool)
    >>> metric.update(model, x, whole, int(model(x).argmax()))
    >>> metric.compute()
    tensor(1., dtype=torch.float64)
    """

    def update(
        self,
        model: nn.Module,
        inputs: Tensor,
        explanation: SufficientExplanation | Tensor,
        target: Asked = None,
        backgrounds: Backgrounds | DrawnBackgrounds | None = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one explanation.

        Parameters
        ----------
        model, inputs, explanation, target, additional_forward_args
            As for :func:`captum_ad.metrics.rho_robustness`.
        backgrounds : Backgrounds or DrawnBackgrounds, optional
            Backgrounds for this input, already drawn or not, instead of the metric's own.
        """
        found = self._planted(model, inputs, explanation, target, backgrounds, additional_forward_args)
        self._add(found.rho, explanation)


class ConfidenceOnBackgrounds(OnBackgrounds):
    """Mean confidence of the target with the explanation planted on backgrounds.

    Parameters
    ----------
    backgrounds, to_confidence, batch_size, **kwargs
        As for :class:`RhoRobustness`.
    """

    def update(
        self,
        model: nn.Module,
        inputs: Tensor,
        explanation: SufficientExplanation | Tensor,
        target: Asked = None,
        backgrounds: Backgrounds | DrawnBackgrounds | None = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one explanation; arguments as for :meth:`RhoRobustness.update`."""
        found = self._planted(model, inputs, explanation, target, backgrounds, additional_forward_args)
        self._add(found.confidence, explanation)


class ExplanationSize(Mean):
    """Mean size of explanations, as a fraction of the positions."""

    higher_is_better = False

    def update(self, inputs: Inputs, explanation: SufficientExplanation | Inputs) -> None:
        """Add one explanation; arguments as for :func:`captum_ad.metrics.explanation_size`."""
        self._add(explanation_size(inputs, explanation), explanation)


class _OfExplanation(OfForward):
    """Base class of metrics of an explanation, a forward and an input."""

    _measure: Callable[..., float]

    def update(
        self,
        forward_func: nn.Module,
        inputs: Inputs,
        explanation: SufficientExplanation | Inputs,
        target: Asked = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one explanation; arguments as for the function."""
        value = self._measure(
            forward_func,
            inputs,
            explanation,
            target,
            baseline=self.baseline,
            additional_forward_args=additional_forward_args,
            to_confidence=self.to_confidence,
        )
        self._add(value, explanation)


class ConfidenceKept(_OfExplanation):
    """Mean confidence of the target with the explanation alone.

    Parameters
    ----------
    baseline, to_confidence
        As for :func:`captum_ad.metrics.confidence_kept`.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True
    _measure = staticmethod(confidence_kept)


class ConfidenceDropOff(_OfExplanation):
    """Mean fraction of the original confidence that is lost if only the explanation is kept.

    Parameters
    ----------
    baseline, to_confidence
        As for :func:`captum_ad.metrics.confidence_drop_off`.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    _measure = staticmethod(confidence_drop_off)


class _OfCurve(OfForward):
    """Base class of metrics for the area under a curve along an attribution's ranking."""

    _curve: Callable[..., ConfidenceCurve]

    def __init__(
        self,
        *,
        baseline: Baseline | None = None,
        to_confidence: ToConfidence = "softmax",
        step: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(baseline=baseline, to_confidence=to_confidence, **kwargs)
        check(to_confidence, batch_size)
        self.step, self.batch_size = step, batch_size

    def update(
        self,
        forward_func: nn.Module,
        inputs: Inputs,
        attribution: Inputs,
        target: Asked = None,
        feature_mask: Inputs | None = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Add one attribution; arguments as for the function."""
        curve = self._curve(
            forward_func,
            inputs,
            attribution,
            target,
            baseline=self.baseline,
            additional_forward_args=additional_forward_args,
            feature_mask=feature_mask,
            step=self.step,
            to_confidence=self.to_confidence,
            batch_size=self.batch_size,
        )
        self._add(curve.area)


class Insertion(_OfCurve):
    """Mean area under insertion curves.

    Parameters
    ----------
    baseline, to_confidence, step, batch_size
        As for :func:`captum_ad.metrics.insertion_curve`.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True
    _curve = staticmethod(insertion_curve)


class Deletion(_OfCurve):
    """Mean area under deletion curves.

    Parameters
    ----------
    baseline, to_confidence, step, batch_size
        As for :func:`captum_ad.metrics.deletion_curve`.
    **kwargs
        Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    _curve = staticmethod(deletion_curve)
