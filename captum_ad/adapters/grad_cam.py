"""The metrics of the package ``grad-cam`` on an ADForward: removed pixels are missing, not imputed.

The metrics remove pixels by a function of an image and a mask, and an :class:`~captum_ad.ADForward` treats NaN as
missing::

    from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric
    from pytorch_grad_cam.metrics.road import RemoveMostRelevantFirst

    metric = PerturbationConfidenceMetric(RemoveMostRelevantFirst(75, missing))
    metric(x, cams, targets, ADForward(model))

Its CAMs also work with this package's metrics that take a function from an input and a class to an attribution::

    noise_responses(model, x, cam_attribute(GradCAM(model, [model.layer4])))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def missing(image: Tensor, mask: Tensor) -> Tensor:
    """Remove positions from an image, in place of grad-cam's imputer.

    Parameters
    ----------
    image : Tensor
        Shape (C, H, W).
    mask : Tensor
        1 = keep, 0 = remove, shape (H, W).

    Returns
    -------
    Tensor
        The image, NaN at removed positions.

    Examples
    --------
    >>> missing(torch.ones(1, 1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([[[1., nan]]])
    """
    return image.where(mask.to(image.device) > 0.5, torch.nan)


def cam_attribute(cam: Any) -> Callable[[Tensor, int], Tensor]:
    """Turn a CAM of the package ``grad-cam`` into a function from an input and a class to a map.

    Parameters
    ----------
    cam : BaseCAM
        ``GradCAM(model, target_layers)``, or any other of ``pytorch_grad_cam``.

    Returns
    -------
    callable
        Takes an input (1, C, H, W) and a class, and returns a tensor (1, H, W).

    Examples
    --------
    >>> def cam(input_tensor, targets):  # has the signature of GradCAM(...)
    ...     return torch.stack([target(input_tensor[0]) * input_tensor[0, 0] for target in targets]).numpy()
    >>> cam_attribute(cam)(torch.ones(1, 1, 1, 2), 0)
    tensor([[[1., 1.]]])
    """

    def attribute(x: Tensor, target: int) -> Tensor:
        with torch.enable_grad():
            found = cam(input_tensor=x, targets=[lambda output: output[target]])
        return torch.as_tensor(found)

    return attribute
