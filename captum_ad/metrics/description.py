"""Describe an explanation in words, by templates that are filled with its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from captum_ad.metrics.localization import of_pixels
from captum_ad.targets.base import Target
from captum_ad.targets.classes import Class, MultiLabel, Names, index_of
from captum_ad.targets.groups import Contrast, Group

PLACES = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "center", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
"""Names of the ninths of an image."""

STANDS_OUT = 1.5
"""A ninth is named if it holds this many times its share of a uniform map."""


class Sufficient(Protocol):
    """The attributes used of a :class:`captum_ad.metrics.SufficientExplanation`."""

    @property
    def found(self) -> bool:
        """Whether a sufficient explanation was found."""

    @property
    def size(self) -> float:
        """Its fraction of the positions."""

    @property
    def confidence(self) -> float:
        """The confidence in the target with the explanation alone."""


class Robust(Protocol):
    """The attributes used of a :class:`captum_ad.metrics.Robustness`."""

    @property
    def rho(self) -> float:
        """Fraction of the backgrounds on which the target is the answer."""

    @property
    def n(self) -> int:
        """Number of backgrounds."""


@dataclass(frozen=True)
class Description:
    """Sentences, and the numbers in them.

    Attributes
    ----------
    sentences : tuple of str
        The sentences; ``str(description)`` joins them.
    facts : mapping
        Those that the sentences mention of ``size``, ``confidence``, ``rho``, ``n``, and for the attribution ``place``,
        ``share`` (of the evidence for the answer, the part at that place), ``even`` (the place's share of the image),
        ``against`` (of all weight, the part that speaks against the answer).
    """

    sentences: tuple[str, ...]
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join(self.sentences)


def describe(
    attribution: Any,
    explanation: Sufficient | None = None,
    robustness: Robust | None = None,
    *,
    target: int | Target | None = None,
    names: Names | None = None,
    backgrounds: str = "backgrounds",
    subject: str = "image",
) -> Description:
    """Describe an explanation of an image in up to three sentences.

    *Saliency Map Verbalization* (Feldhus et al. 2022, arXiv 2210.07222) finds that templates are faithful where
    language models are not. These are our own templates: how much of the image alone keeps the answer, on how many
    backgrounds, and which ninth of the image holds most of the evidence for it. No language model is used.

    Parameters
    ----------
    attribution : Tensor or array
        Shape (H, W), (C, H, W) or (1, C, H, W); channels are added up.
    explanation : SufficientExplanation, optional
        The sufficient explanation from that attribution.
    robustness : Robustness, optional
        The robustness of that explanation.
    target : int or Target, optional
        What is explained, for its name: "the answer" if not given. A Contrast also names what it is compared with.
    names : sequence of str, or mapping of int to str, optional
        The names of all classes.
    backgrounds : str
        What to call the backgrounds, e.g. ``"solid colors"``.
    subject : str
        What to call the image.

    Returns
    -------
    Description
        Numbers are rounded to whole percent, but only exact values are called 0% or 100%.

    Raises
    ------
    ValueError, TypeError
        If the attribution has another shape or contains NaN, or robustness is given without an explanation.

    Examples
    --------
    >>> attribution = torch.zeros(6, 6)
    >>> attribution[:2, :2] = 1
    >>> print(describe(attribution))
    100% of what speaks for the answer lies in the upper left, 11% of the image.
    """
    if robustness is not None and explanation is None:
        raise ValueError("robustness is given without its explanation: give explanation= too")
    values = of_pixels(torch.as_tensor(attribution))
    asked = _asked(target, names)
    facts: dict[str, Any] = {}
    sentences = [] if explanation is None else [_alone(explanation, robustness, asked, (backgrounds, subject), facts)]
    sentences.append(_where(values, asked, subject, facts))
    return Description(tuple(sentences), facts)


def percent(share: float) -> str:
    """A fraction in whole percent.

    Examples
    --------
    >>> percent(0.314), percent(0.001), percent(0.999), percent(1)
    ('31%', 'under 1%', 'over 99%', '100%')
    """
    if 0 < share < 0.005:
        return "under 1%"
    if 0.995 <= share < 1:
        return "over 99%"
    return f"{share:.0%}"


def _alone(
    explanation: Sufficient, robustness: Robust | None, asked: str, called: tuple[str, str], facts: dict[str, Any]
) -> str:
    backgrounds, subject = called
    if not explanation.found:
        return f"No part of the {subject} alone keeps {asked}."
    facts |= {"size": explanation.size, "confidence": explanation.confidence}
    if explanation.size == 0:
        return f"The network gives {asked} to nothing at all, so that no part of the {subject} is needed for it."
    words = (
        f"{percent(explanation.size)} of the {subject} alone keeps {asked}, at confidence {explanation.confidence:.2f}"
    )
    if robustness is None or math.isnan(robustness.rho):
        return f"{words}."
    facts |= {"rho": robustness.rho, "n": robustness.n}
    return (
        f"{words}; planted on {robustness.n} {backgrounds} the network gives it on {percent(robustness.rho)} of them."
    )


def _where(values: Tensor, asked: str, subject: str, facts: dict[str, Any]) -> str:
    positive, negative = values.clamp(min=0), (-values).clamp(min=0)
    weight = float(positive.sum() + negative.sum())
    if not weight:
        return "The map is zero everywhere, and says nothing."
    facts["against"] = float(negative.sum()) / weight
    if not bool(positive.any()):
        return f"Nothing in the map speaks for {asked}."
    place, share, even = _densest(positive)
    facts |= {"place": place, "share": share, "even": even}
    if share >= STANDS_OUT * even:
        words = f"{percent(share)} of what speaks for {asked} lies in the {place}, {percent(even)} of the {subject}"
    else:
        words = f"What speaks for {asked} is spread out: the {place} has the most, {percent(share)}"
        words += f", on {percent(even)} of the {subject}"
    against = f"; {percent(facts['against'])} of the map's weight speaks against it" if facts["against"] else ""
    return f"{words}{against}."


def _densest(positive: Tensor) -> tuple[str, float, float]:
    """The ninth with the largest share of a map, that share, and the ninth's share of the image."""
    rows, columns = (_thirds(side) for side in positive.shape)
    found = []
    for names, (top, bottom) in zip(PLACES, rows):
        for name, (left, right) in zip(names, columns):
            share = float(positive[top:bottom, left:right].sum() / positive.sum())
            found.append((share, name, (bottom - top) * (right - left) / positive.numel()))
    share, name, even = max(found, key=lambda one: one[0])  # in a tie, the first in reading order
    return name, share, even


def _thirds(side: int) -> list[tuple[int, int]]:
    edges = [round(side * i / 3) for i in range(4)]
    return list(pairwise(edges))


def _asked(target: int | Target | None, names: Names | None) -> str:
    if target is None:
        return "the answer"
    if isinstance(target, Contrast):
        return f"{_group(target.a, names)} rather than {_group(target.b, names)}"
    if isinstance(target, Group):
        return _group(target, names)
    if isinstance(target, Target):
        return _name(target.index, names) if isinstance(target, (Class, MultiLabel)) else repr(target)
    return _name(index_of(target, None), names)


def _group(group: Group, names: Names | None) -> str:
    listed = [_name(index, names) for index in group.indices]
    if len(listed) > 3:
        return f"one of {len(listed)} classes"
    return " or ".join(listed)


def _name(index: int, names: Names | None) -> str:
    known = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
    return f"“{known[index]}”" if index in known else f"class {index}"
