"""Quantus on an ADForward: what its metrics remove is missing, not painted.

Quantus removes by writing a value, and NaN is missing to an :class:`~captum_ad.ADForward`. Where a metric has the
argument ``perturb_baseline``, nothing else is needed::

    quantus.PixelFlipping(perturb_baseline=float("nan"), features_in_step=224)(ADForward(model), x, y, a, device="cpu")

So it is with ``FaithfulnessCorrelation``, ``FaithfulnessEstimate``, ``MonotonicityCorrelation``,
``RegionPerturbation``, ``Selectivity`` and ``SensitivityN``. ``ROAD`` takes :func:`missing` as its ``perturb_func``.
Metrics that only look at an attribution, as those of localization do, need nothing. ``Infidelity`` multiplies by what
it removed: use a value there. Where something is removed, give attributions of the input's shape, equal in all
channels (``a.repeat(3, axis=1)``): Quantus then removes whole pixels; a pixel of which one channel is NaN is there
still, without that channel. Metrics of localization want as many channels as their masks have, which is one.

A plain model makes NaN of NaN, and Quantus's scores are then 0 or NaN without a word: give it an ADForward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def missing(arr: npt.NDArray[Any], indices: npt.NDArray[np.integer[Any]], **unused: Any) -> npt.NDArray[Any]:
    """Remove positions from an image, for Quantus's ``perturb_func=``.

    Parameters
    ----------
    arr : array
        One image of floats, shape (C, H, W).
    indices : array of int
        Into its features in row-major order, as ROAD ranks them. A position goes in all its channels.
    **unused
        What Quantus passes to other functions, as ``noise``.

    Returns
    -------
    array
        The image, NaN at those positions.

    Raises
    ------
    ValueError
        If the image has another shape or no floats.

    Examples
    --------
    >>> missing(np.ones((2, 1, 3)), np.array([4]))
    array([[[ 1., nan,  1.]],
           [[ 1., nan,  1.]]])
    """
    if arr.ndim != 3 or not np.issubdtype(arr.dtype, np.floating):
        raise ValueError(f"expected an image of floats, shape (C, H, W), got {arr.dtype} of shape {arr.shape}")
    removed = arr.copy().reshape(len(arr), -1)
    removed[:, np.asarray(indices).ravel() % removed.shape[1]] = np.nan
    return removed.reshape(arr.shape)
