"""A patch of an image to which a channel responds, and what it is worth to the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad.metrics.confidence import confidence_kept
from captum_ad.painted import Baseline
from captum_ad.scoring import Asked, ToConfidence


@dataclass(frozen=True)
class Prototype:
    """A patch of an image, where a channel responds most.

    Attributes
    ----------
    image : str
        The image's name.
    response : float
        Of the channel, there.
    purity : float
        The channel's share of all that responds there, v_c / ‖v‖, −1 to 1: 1 if it alone does.
    box : (int, int, int, int)
        Left, top, right and bottom of the patch in the input's pixels; right and bottom exclusive.
    mask : Tensor
        True outside of the patch, bool, shape (H, W): with it as ``mask=`` a forward hides the patch.
    """

    image: str
    response: float
    purity: float
    box: tuple[int, int, int, int]
    mask: Tensor


def patch_worth(
    forward: nn.Module,
    x: Tensor,
    patch: Prototype,
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    to_confidence: ToConfidence = "softmax",
) -> float:
    """What an answer loses without a patch: the target's confidence for the whole input, less that with it hidden.

    Parameters
    ----------
    forward, x, target, baseline, to_confidence
        As for :func:`captum_ad.metrics.confidence_kept`.
    patch : Prototype
        Of :meth:`captum_ad.prototypes.Prototypes.within`, or any other.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> from captum_ad.prototypes import Prototypes
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> x = torch.rand(1, 1, 4, 4)
    >>> patch = Prototypes(model.eval(), {"x": x}, "1").within(x, channel=0)
    >>> -1 <= patch_worth(ADForward(model), x, patch, target=0) <= 1
    True
    """
    more: dict[str, Any] = {"baseline": baseline, "to_confidence": to_confidence}
    whole = confidence_kept(forward, x, torch.ones_like(patch.mask), target, **more)
    return whole - confidence_kept(forward, x, patch.mask, target, **more)
