"""A patch of an image to which a channel responds, and how much the answer depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Baseline
from captum_ad._scoring import Asked, ToConfidence, asking, batch_of, masked, one_input, scored, whole_of


@dataclass(frozen=True)
class Prototype:
    """The patch of an image where a channel responds most.

    Attributes
    ----------
    image : str
        The image's name.
    response : float
        The channel's response there.
    purity : float
        The channel's share of all responses there, v_c / ‖v‖, −1 to 1: 1 if no other channel responds.
    box : (int, int, int, int)
        Left, top, right and bottom of the patch in the input's pixels; right and bottom exclusive.
    mask : Tensor
        bool, shape (H, W), True outside the patch: as ``mask=`` of a forward, it hides the patch.
    """

    image: str
    response: float
    purity: float
    box: tuple[int, int, int, int]
    mask: Tensor


def patch_worth(
    forward: nn.Module,
    x: Tensor,
    patches: Prototype | Sequence[Prototype],
    target: Asked = None,
    *,
    baseline: Baseline | None = None,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """How much the target's confidence drops without a patch: that for the whole input minus that with it hidden.

    Parameters
    ----------
    forward, x, target, baseline, to_confidence, batch_size
        As for :func:`captum_ad.metrics.sufficient_explanation`.
    patches : Prototype or sequence of Prototype
        From :meth:`captum_ad.prototypes.lookup.Prototypes.within`, or any others.

    Returns
    -------
    Tensor
        float64, shape (patches,), or () for a single one.

    Raises
    ------
    ValueError, TypeError
        If there is no patch, or an argument is invalid.

    Examples
    --------
    >>> from captum_ad import ADForward
    >>> from captum_ad.prototypes.lookup import Prototypes
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> x = torch.rand(1, 1, 4, 4)
    >>> patch = Prototypes(model.eval(), {"x": x}, "1").within(x, channel=0)
    >>> -1 <= float(patch_worth(ADForward(model), x, patch, target=0)) <= 1
    True
    """
    several = [patches] if isinstance(patches, Prototype) else list(patches)
    if not several:
        raise ValueError("expected at least one patch, got none")
    one_input(x)
    asked, judge = asking(masked(forward, baseline), target, to_confidence)
    whole_of(asked, x, judge)
    masks = torch.stack([torch.ones_like(several[0].mask), *(one.mask for one in several)]).to(x.device)

    def run(start: int, stop: int) -> Any:
        return asked.outputs(x.expand(stop - start, *x.shape[1:]), mask=masks[start:stop])

    confidence = scored(run, len(masks), judge, batch_of(batch_size, x.device))[0].double()
    worth = confidence[0] - confidence[1:]
    return worth[0] if isinstance(patches, Prototype) else worth
