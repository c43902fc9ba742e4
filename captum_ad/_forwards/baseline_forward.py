"""BaselineForward: a model whose missing features are painted, the baseline counterpart of an ADForward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._common.errors import UnknownNameError
from captum_ad._engine.mask_rule import PRESETS, MaskRule
from captum_ad._forwards.ad_forward import ADForward
from captum_ad._forwards.answers import Answering, Masks, Select, plain_module, with_article
from captum_ad._forwards.arguments import arrange, as_features
from captum_ad._forwards.features import kept_features
from captum_ad._forwards.guard import refuse_paint
from captum_ad.baselines import BASELINES, IMPUTATIONS, baseline
from captum_ad.baselines.boundary import SAMPLED
from captum_ad.targets.base import Target

Baseline = str | float | Tensor | Callable[[Tensor, Tensor], Tensor]
"""What a missing feature is painted with: a name, a value, a tensor, or a function of (input, mask)."""


class BaselineForward(Answering):
    """A model with a baseline: ``forward(x, mask=m)`` paints the masked features and runs the model on the result.

    This is ordinary occlusion with the interface of an :class:`~captum_ad.ADForward`. Captum's masking attributors, the
    metrics, lime, and shap take either. If Captum itself supports the baseline, results equal those of the plain model
    with ``baselines=``. The exception is Lime with its default kernel, which compares painted images for the plain
    model and masks here.

    Parameters
    ----------
    model : nn.Module
        The network. Its input is a tensor of shape (N, C, *spatial); other arguments are passed on.
    baseline : str, float, Tensor or callable
        ``"zero"``, ``"min"``, ``"max"``, ``"avg"``, ``"blur"``, ``"inpaint"``, ``"linear"`` or ``"boundary-normal"``,
        computed for each sample; a value; a tensor that broadcasts to the input; or a function of (x, mask) that
        returns the painted input, where mask is bool, shape (N, 1|C, *spatial), True = keep. What the function returns
        at kept features is ignored.
    select, target
        As for :class:`~captum_ad.ADForward`.

    Raises
    ------
    TypeError, UnknownNameError
        If `model` is not a plain module, or the baseline is unknown.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> BaselineForward(torch.nn.Flatten(), "avg")(x, mask=mask)
    tensor([[1., 2., 3., 3.]])
    """

    def __init__(
        self, model: nn.Module, baseline: Baseline, *, select: Select | None = None, target: Target | None = None
    ) -> None:
        super().__init__()
        self.model = plain_module(model)
        if isinstance(baseline, str):
            if baseline not in NAMED:
                raise UnknownNameError("baseline", baseline, NAMED)
        elif not isinstance(baseline, (int, float, Tensor)) and not callable(baseline):
            raise TypeError(f"baseline must be a name, a value, a tensor or a function, got {type(baseline).__name__}")
        self.baseline = baseline
        self._asks(select, target)
        self.training = model.training

    def forward(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Tensor:
        """The model's output with the masked features painted.

        Parameters
        ----------
        *inputs, **kwargs
            As for :meth:`ADForward.forward`.
        mask : Tensor, tuple of (Tensor or None) or dict, optional
            True (or 1) = keep, as for :meth:`ADForward.forward`. If more than one input is masked, the baseline must be
            a name or a value.

        Returns
        -------
        Tensor
            The target's score of each sample, shape (N,). Without a target: the output, or what `select` picks from it.

        Raises
        ------
        ValueError, TypeError
            If the mask does not fit, or the baseline is not a tensor that broadcasts to the input.
        """
        return self._score(self.outputs(*inputs, mask=mask, **kwargs), inputs, kwargs)

    def outputs(self, *inputs: Any, mask: Masks = None, **kwargs: Any) -> Any:
        """The part of the model's output that the target reads, as in :meth:`ADForward.outputs`."""
        refuse_paint(mask, "BaselineForward")
        given = arrange(inputs, mask, kwargs)
        masked = sum(m is not None for m in given.masks)
        if masked > 1 and not isinstance(self.baseline, (str, int, float)):
            raise ValueError(
                "a baseline that is a tensor or a function paints one input: to mask several, give a name or a value"
            )
        painted = tuple(x if m is None else self.painted(x, m) for x, m in zip(given.inputs, given.masks))
        kept = [None if m is None else kept_features(x, m, "mask") for x, m in zip(given.inputs, given.masks)]
        return self._read(self._selected(given.call(self.model, painted)), given.inputs, kept)

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
        kept, x = kept_features(x, mask, "mask"), as_features(x)
        return torch.where(kept, x, self._paint(x, kept))

    def extra_repr(self) -> str:
        """The baseline, for ``repr``."""
        return f"baseline={tuple(self.baseline.shape) if isinstance(self.baseline, Tensor) else self.baseline!r}"

    def _paint(self, x: Tensor, kept: Tensor) -> Tensor:
        given = self.baseline
        if isinstance(given, str) and given not in IMPUTATIONS:  # independent of the mask
            one_image = x.shape[0] > 1 and x.stride(0) == 0  # repeated by expand: paint it once
            seen = x[:1] if one_image else x
            return SAMPLED[given](seen, kept) if given in SAMPLED else baseline(given, seen)
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
"""A forward that takes ``mask=``: the caller says which features are missing instead of painting them."""

MASKING_VALUES = (*BASELINES, *IMPUTATIONS)
"""The baselines that are compared by default."""

NAMED = (*MASKING_VALUES, *SAMPLED)
"""All named baselines."""

Masking = str | MaskRule | float | Tensor | Callable[[Tensor, Tensor], Tensor]
"""A way to hide features: ``"ad:PRESET"``, a :class:`MaskRule`, or a baseline."""


def masked_forward(model: nn.Module, masking: Masking) -> MaskedForward:
    """Wrap a model so that it hides features in the given way.

    Parameters
    ----------
    model : nn.Module
        The plain model.
    masking : str, MaskRule, float, Tensor or callable
        ``"ad:RULE"``, with RULE as for :meth:`captum_ad.MaskRule.named`, or a rule gives an ADForward. Anything else is
        a baseline and gives a :class:`BaselineForward`.

    Returns
    -------
    ADForward or BaselineForward
        A forward around the same model, which is not modified.

    Raises
    ------
    UnknownNameError
        If the preset or baseline is unknown.

    Examples
    --------
    >>> masked_forward(torch.nn.Flatten(), "ad:no-growth").rule == PRESETS["no-growth"]
    True
    """
    if isinstance(model, MaskedForward):
        raise TypeError(f"the model is already {with_article(model)} with its own masking: pass its .model")
    if isinstance(masking, MaskRule):
        return ADForward(model, masking)
    if isinstance(masking, str) and masking.startswith("ad:"):
        return ADForward(model, masking.removeprefix("ad:"))
    if isinstance(masking, str) and masking not in NAMED:
        raise UnknownNameError("masking", masking, [*(f"ad:{preset}" for preset in PRESETS), *NAMED])
    return BaselineForward(model, masking)
