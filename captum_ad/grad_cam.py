"""The metrics of the package ``grad-cam`` on an ADForward: what they remove is missing, not imputed.

They remove by a function of an image and a mask, and NaN is missing to an :class:`~captum_ad.ADForward`::

    from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric
    from pytorch_grad_cam.metrics.road import RemoveMostRelevantFirst

    metric = PerturbationConfidenceMetric(RemoveMostRelevantFirst(75, missing))
    metric(x, cams, targets, ADForward(model))
"""

from __future__ import annotations

import torch
from torch import Tensor


def missing(image: Tensor, mask: Tensor) -> Tensor:
    """Remove positions from an image, where grad-cam has its imputer.

    Parameters
    ----------
    image : Tensor
        Shape (C, H, W).
    mask : Tensor
        1 = keep, 0 = remove, shape (H, W).

    Returns
    -------
    Tensor
        The image, NaN at what is removed.

    Examples
    --------
    >>> missing(torch.ones(1, 1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([[[1., nan]]])
    """
    return image.where(mask.to(image.device) > 0.5, torch.nan)
