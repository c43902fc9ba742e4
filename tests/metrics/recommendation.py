"""Bright images, and networks of which it is known what disturbs them."""

import torch

from tests.metrics.models import linear

CENTER = (4, 4, 8, 8)
BRIGHT = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
GIVEN = {"boxes": [CENTER] * 8, "maskings": ["ad:paper", "zero"]}


def mean_of(box, threshold=0.2):
    """Class 1 if the mean within a box of a 12×12 image is above a threshold: logits (4 threshold, 4 mean)."""
    left, top, right, bottom = box
    weights = torch.zeros(2, 1, 12, 12)
    weights[1, 0, top:bottom, left:right] = 4 / ((right - left) * (bottom - top))
    return linear(weights, (4 * threshold, 0.0))


def brightness():
    """Class 1 if the whole of a 12×12 image is bright on the average: what is painted white counts, black does not."""
    return mean_of((0, 0, 12, 12), 0.65)


def ignorant():
    return linear(torch.zeros(2, 1, 12, 12), (0.0, 1.0))
