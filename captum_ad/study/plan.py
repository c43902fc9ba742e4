"""What a study is of: models and their inputs, methods, maskings, judges, and how much effort is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad._forwards.baseline_forward import Masking
from captum_ad._methods import METHODS
from captum_ad._scoring import ToConfidence
from captum_ad.metrics.backgrounds import Backgrounds
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.explanation import PAPER_GAMMAS
from captum_ad.metrics.given import Method
from captum_ad.metrics.places import Box
from captum_ad.study.manifest import Manifest
from captum_ad.study.units import OF_MASKING, Unit, all_units
from captum_ad.targets.base import Target


@dataclass(frozen=True)
class Sample:
    """One input of a model.

    Attributes
    ----------
    x : Tensor
        Shape (1, C, *spatial).
    more : tuple
        What the model takes besides.
    label : int, optional
        Its class, where that is known.
    box : Box, optional
        Where the object is, in pixels of `x`.
    picture : bytes, optional
        What a report shows of it, an image file.
    """

    x: Tensor
    more: tuple[Any, ...] = ()
    label: int | None = None
    box: Box | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class Subject:
    """A model that is asked, and what belongs to it.

    Attributes
    ----------
    model : nn.Module
        In eval mode.
    load : callable
        From an image's name to the model's input.
    backgrounds : mapping
        Sets by name.
    to_confidence : str or callable
        As for :func:`captum_ad.metrics.sufficient_explanation`.
    preparation : str
        How inputs are made of images, in words; it counts as a part of the model.
    """

    model: nn.Module
    load: Callable[[str], Sample]
    backgrounds: Mapping[str, Backgrounds]
    to_confidence: ToConfidence = "softmax"
    preparation: str = ""


@dataclass(frozen=True)
class Judges:
    """What is measured of every attribution, and of every masking.

    Attributes
    ----------
    gammas : tuple of float
        Thresholds of the sufficient explanations.
    sizes : tuple of float
        Equal sizes at which ρ is measured too.
    step : int, optional
        Positions per step of the scan.
    deletion : bool
        Whether the deletion curve is run too; the insertion curve is the scan.
    missingness : tuple of float
        Shares of an image that stay there, for the judge of maskings; empty for none.
    """

    gammas: tuple[float, ...] = PAPER_GAMMAS
    sizes: tuple[float, ...] = (0.1, 0.3, 0.5)
    step: int | None = None
    deletion: bool = False
    missingness: tuple[float, ...] = ()


@dataclass(frozen=True)
class Effort:
    """How much a method may do, as for :class:`captum_ad._methods.Task`.

    Attributes
    ----------
    samples, segments, window : int
        Perturbations, superpixels, and the side of Occlusion's window.
    """

    samples: int = 150
    segments: int = 40
    window: int = 32


@dataclass(frozen=True)
class Plan:
    """A whole study.

    Attributes
    ----------
    subjects : mapping
        The models by name.
    images : mapping
        Names of images to a digest of their contents.
    methods, maskings : mapping
        By name, as for :func:`captum_ad.metrics.compare`.
    judges : Judges
        What is measured.
    effort : Effort
        Of the methods.
    seed : int
        Of everything random; all images and maskings get the same perturbations.
    batch_size : int, optional
        Inputs per forward. It changes roundings alone.
    target : Target, optional
        What is explained, if not the model's own answer.
    pictures : bool
        Whether maps are kept for a report.
    """

    subjects: Mapping[str, Subject]
    images: Mapping[str, str]
    methods: Mapping[str, Method]
    maskings: Mapping[str, Masking]
    judges: Judges = field(default_factory=Judges)
    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    batch_size: int | None = None
    target: Target | None = None
    pictures: bool = False

    def units(self) -> list[Unit]:
        """Every unit, in the order in which they are taken."""
        own = (OF_MASKING,) if self.judges.missingness else ()
        return list(all_units(self.subjects, self.images, (*own, *self.methods), self.maskings))

    def manifest(self) -> Manifest:
        """What the results depend on, by digests: weights, code, images and settings."""
        judges, effort = self.judges, self.effort
        settings: dict[str, Any] = {
            "gammas": list(judges.gammas),
            "sizes": list(judges.sizes),
            "step": judges.step,
            "deletion": judges.deletion,
            "missingness": list(judges.missingness),
            "samples": effort.samples,
            "segments": effort.segments,
            "window": effort.window,
            "seed": self.seed,
            "target": None if self.target is None else described(self.target),
        }
        return Manifest(
            settings,
            models={name: _of_subject(subject) for name, subject in self.subjects.items()},
            images=dict(self.images),
            methods={name: digest(method_text(method)) for name, method in self.methods.items()},
            maskings={name: digest(described(masking)) for name, masking in self.maskings.items()},
            running={"threads": torch.get_num_threads(), "batch_size": self.batch_size},
        )


def method_text(method: Method) -> str:
    """What tells a method from others: its code, or its name and ``version`` if it has one.

    Give a function a version, ``mine.version = "2"``, where its code does not tell all, or where changes of its code
    do not matter.
    """
    version = getattr(method, "version", None)
    if version is not None and not isinstance(method, str):
        name = getattr(method, "__qualname__", type(method).__qualname__)
        return f"{getattr(method, '__module__', None)}.{name} version {version}"
    return described(METHODS[method]) if isinstance(method, str) else described(method)


def _of_subject(subject: Subject) -> str:
    sets = {name: described(source) for name, source in subject.backgrounds.items()}
    return digest(fingerprint(subject.model), subject.preparation, sets, described(subject.to_confidence))


def units_of(manifest: Manifest) -> list[Unit]:
    """Every unit of the study that a manifest is of."""
    own = (OF_MASKING,) if manifest.settings["missingness"] else ()
    return list(all_units(manifest.models, manifest.images, (*own, *manifest.methods), manifest.maskings))
