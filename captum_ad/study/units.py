"""Units of work: each is measured, recorded as a whole, and never measured twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

OF_MASKING = ""
"""The method name of units that measure a masking without an attribution."""


class Unit(NamedTuple):
    """One image, explained by one method under one masking, as one model sees it.

    Attributes
    ----------
    model, image, method, masking : str
        Their names. The method :data:`OF_MASKING` stands for what a masking does by itself: missingness.
    """

    model: str
    image: str
    method: str
    masking: str


def all_units(
    models: Iterable[str], images: Iterable[str], methods: Iterable[str], maskings: Iterable[str]
) -> Iterator[Unit]:
    """Every unit of a study, in the order in which they are taken: units of the same image are adjacent.

    Examples
    --------
    >>> [unit.masking for unit in all_units(["net"], ["cat"], ["lime"], ["zero", "avg"])]
    ['zero', 'avg']
    """
    methods, maskings, images = list(methods), list(maskings), list(images)
    for model in models:
        for image in images:
            for method in methods:
                for masking in maskings:
                    yield Unit(model, image, method, masking)
