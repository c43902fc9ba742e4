"""Small pictures, and what is done to them, that several tests share."""

import numpy as np

SHAPE = (12, 16, 3)


def six_segments():
    """Six, of odd sizes and labels; two of them have their center in one place."""
    labels = np.full(SHAPE[:2], 40)
    labels[:, :5] = 3
    labels[8:, 5:9] = -7
    labels[2:8, 10:16] = 12
    labels[4:6, 12:14] = 11
    labels[0, 15] = 5
    return labels


def thumbnail(image):
    return image
