"""Quantus on an ADForward: features that its metrics remove are missing, not painted.

Quantus removes features by writing a value, and an :class:`~captum_ad.ADForward` treats NaN as missing. If a metric has
the argument ``perturb_baseline``, nothing else is needed::

    quantus.PixelFlipping(perturb_baseline=float("nan"), features_in_step=224)(ADForward(model), x, y, a, device="cpu")

The same works for ``FaithfulnessCorrelation``, ``FaithfulnessEstimate``, ``MonotonicityCorrelation``,
``RegionPerturbation``, ``Selectivity`` and ``SensitivityN``. ``ROAD`` takes :func:`missing` as its ``perturb_func``.
Metrics that only use an attribution, such as localization, need no change. ``Infidelity`` multiplies by what
it removed, so use a value there. For metrics that remove features, give attributions of the input's shape, equal in all
channels (``a.repeat(3, axis=1)``), so that Quantus removes whole pixels; a pixel with NaN in one channel stays, without
that channel. Localization metrics need as many channels as their masks have, which is one.

A plain model returns NaN for NaN, and Quantus's scores are then silently 0 or NaN: give it an ADForward.
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
        Indices into its features in row-major order, as ROAD ranks them. A position is removed in all channels.
    **unused
        Arguments that Quantus passes to other functions, such as ``noise``.

    Returns
    -------
    array
        The image, NaN at those positions.

    Raises
    ------
    ValueError
        If the image has another shape, or is not floating point.

    Examples
    --------
    >>> missing(np.ones((2, 1, 3)), np.array([4]))
    array([[[ 1., nan,  1.]],
           [[ 1., nan,  1.]]])
    """
    if arr.ndim != 3 or not np.issubdtype(arr.dtype, np.floating):
        raise ValueError(f"expected a floating-point image of shape (C, H, W), got {arr.dtype} of shape {arr.shape}")
    removed = arr.copy().reshape(len(arr), -1)
    removed[:, np.asarray(indices).ravel() % removed.shape[1]] = np.nan
    return removed.reshape(arr.shape)
