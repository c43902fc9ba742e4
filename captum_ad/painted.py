"""BaselineForward: a model whose missing features are painted, the baseline counterpart of an ADForward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad.baselines import BASELINES, IMPUTATIONS, baseline
from captum_ad.errors import UnknownNameError
from captum_ad.features import kept_features
from captum_ad.forward import ADForward, Masks
from captum_ad.guard import refuse_paint
from captum_ad.rule import PRESETS, MaskRule

Baseline = str | float | Tensor | Callable[[Tensor, Tensor], Tensor]
"""What a missing feature is painted with: a name, a value, a tensor, or a function of (input, mask)."""


class BaselineForward(nn.Module):
    """A model with a baseline: ``forward(x, mask=m)`` paints the masked features and runs the model on the result.

    What occlusion has always done, with the interface of an :class:`~captum_ad.ADForward`: the
    metrics, lime and shap take either, and so do Captum's masking attributors; for a baseline that Captum can take
    itself the result is what the plain model with ``baselines=`` gives (but for Lime with its default
    kernel, which there compares painted images, and here masks).

    Parameters
    ----------
    model : nn.Module
        The network; its input is one tensor of shape (N, C, *spatial), any other arguments are passed on.
    baseline : str, float, Tensor or callable
        ``"zero"``, ``"min"``, ``"max"``, ``"avg"``, ``"blur"``, ``"inpaint"`` or ``"linear"``, computed for each
        sample; a value; a tensor that broadcasts to the input; or a function of (x, mask), mask bool (N, 1|C, *spatial)
        with True = keep, that returns the painted input. Kept features are the input's whatever it
        returns.

    Raises
    ------
    TypeError, UnknownNameError
        If `model` is no plain module, or there is no such baseline.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> BaselineForward(torch.nn.Flatten(), "avg")(x, mask=mask)
    tensor([[1., 2., 3., 3.]])
    """

    def __init__(self, model: nn.Module, baseline: Baseline) -> None:
        super().__init__()
        if isinstance(model, (ADForward, BaselineForward)):
            raise TypeError(f"the model is a {type(model).__name__} already: wrap its .model")
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}; wrap your function in a module")
        if isinstance(baseline, str):
            if baseline not in MASKING_VALUES:
                raise UnknownNameError("baseline", baseline, MASKING_VALUES)
        elif not isinstance(baseline, (int, float, Tensor)) and not callable(baseline):
            raise TypeError(f"expected a name, a value, a tensor or a function, got {type(baseline).__name__}")
        self.model = model
        self.baseline = baseline
        self.training = model.training

    def forward(self, x: Tensor, *more: Any, mask: Masks = None, **kwargs: Any) -> Tensor:
        """The model's output with the masked features painted.

        Parameters
        ----------
        x : Tensor
            Shape (N, C, *spatial), floating point.
        *more, **kwargs
            Passed to the model.
        mask : Tensor or tuple of (Tensor or None), optional
            True (or 1) = keep, as :meth:`ADForward.forward` takes it; only the first input can have one.

        Returns
        -------
        Tensor
            The model's output.

        Raises
        ------
        ValueError, TypeError
            If the mask does not fit, or the baseline is no tensor of the input's shape.
        """
        refuse_paint(mask, "BaselineForward")
        if isinstance(mask, tuple):
            if len(mask) != 1 + len(more) or any(m is not None for m in mask[1:]):
                raise ValueError("a BaselineForward masks its first input only: give one mask, and None for the others")
            mask = mask[0]
        output: Tensor = self.model(x if mask is None else self.painted(x, mask), *more, **kwargs)
        return output

    def painted(self, x: Tensor, mask: Tensor) -> Tensor:
        """The input that the model gets: `x` where `mask` is True, else the baseline.

        Parameters
        ----------
        x : Tensor
            Shape (N, C, *spatial).
        mask : Tensor
            As for :meth:`forward`.

        Returns
        -------
        Tensor
            Same shape, dtype and device as `x`.
        """
        kept = kept_features(x, mask, "mask")
        return torch.where(kept, x, self._paint(x, kept))

    def extra_repr(self) -> str:
        """The baseline, for ``repr``."""
        return f"baseline={tuple(self.baseline.shape) if isinstance(self.baseline, Tensor) else self.baseline!r}"

    def _paint(self, x: Tensor, kept: Tensor) -> Tensor:
        given = self.baseline
        if isinstance(given, str) and given in BASELINES:
            one_image = x.shape[0] > 1 and x.stride(0) == 0  # repeated by expand: paint it once
            return baseline(given, x[:1] if one_image else x)
        if isinstance(given, (int, float)):
            return x.new_full((), given)
        function = IMPUTATIONS[given] if isinstance(given, str) else given if callable(given) else None
        paint = given if function is None else function(x, kept.expand(x.shape[0], *kept.shape[1:]))
        if not isinstance(paint, Tensor):
            raise TypeError(f"the baseline function returned {type(paint).__name__}, expected a tensor")
        try:
            broadcast = paint.to(x).expand_as(x)
        except RuntimeError:
            raise ValueError(
                f"the baseline has shape {tuple(paint.shape)}, which does not broadcast to the input {tuple(x.shape)}"
            ) from None
        return broadcast


MaskedForward = ADForward | BaselineForward
"""A forward that takes ``mask=``: what features are missing is said, not painted by the caller."""

MASKING_VALUES = (*BASELINES, *IMPUTATIONS)
"""The baselines that have a name."""

Masking = str | MaskRule | float | Tensor | Callable[[Tensor, Tensor], Tensor]
"""A way of hiding features: ``"ad:PRESET"`` or a :class:`MaskRule`, else a baseline."""


def masked_forward(model: nn.Module, masking: Masking) -> MaskedForward:
    """The model, made to hide features in the way that is asked for.

    Parameters
    ----------
    model : nn.Module
        The plain model.
    masking : str, MaskRule, float, Tensor or callable
        ``"ad:RULE"`` (as :meth:`captum_ad.MaskRule.named` takes it) or a rule gives an ADForward, anything else is
        a baseline and gives a :class:`BaselineForward`.

    Returns
    -------
    ADForward or BaselineForward
        Around the same model, which is not changed.

    Raises
    ------
    UnknownNameError
        If there is no such preset or baseline.

    Examples
    --------
    >>> masked_forward(torch.nn.Flatten(), "ad:no-growth").rule == PRESETS["no-growth"]
    True
    """
    if isinstance(model, MaskedForward):
        raise TypeError(f"the model is a {type(model).__name__} already, with a masking of its own: give its .model")
    if isinstance(masking, MaskRule):
        return ADForward(model, masking)
    if isinstance(masking, str) and masking.startswith("ad:"):
        return ADForward(model, masking.removeprefix("ad:"))
    if isinstance(masking, str) and masking not in MASKING_VALUES:
        raise UnknownNameError("masking", masking, [*(f"ad:{preset}" for preset in PRESETS), *MASKING_VALUES])
    return BaselineForward(model, masking)
