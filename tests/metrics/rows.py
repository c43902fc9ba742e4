"""Records of studies, written by hand."""

import math

import numpy as np
import pandas as pd

from captum_ad.metrics.statistics import COLUMNS

NAN = float("nan")
FEW = 199  # resamples


def row(image, masking, rho, *, gamma=0.5, size=0.25, method="occlusion", backgrounds="K1", found=True):
    confidence = 0.9
    if not found:
        rho = confidence = NAN
        size = size if math.isnan(gamma or NAN) else NAN
    given = (image, method, masking, 3, gamma, backgrounds, found, size, confidence, rho, 0.6, 2.0)
    return dict(zip(COLUMNS, given, strict=True))


def rows_of(masking, rhos, **others):
    """One row per image; None is an image without an explanation."""
    return [row(f"image{index}", masking, rho, found=rho is not None, **others) for index, rho in enumerate(rhos)]


def table(*groups):
    return pd.DataFrame([each for group in groups for each in group])


def only(frame, **values):
    """The one row with these values."""
    chosen = frame[np.logical_and.reduce([frame[name] == value for name, value in values.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]
