"""The plan of a study: models and their inputs, methods, maskings, judges, and effort."""

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
        The model's other arguments.
    label : int, optional
        Its class, if that is known.
    box : Box, optional
        The object's box, in pixels of `x`.
    picture : bytes, optional
        An image file of it for a report.
    """

    x: Tensor
    more: tuple[Any, ...] = ()
    label: int | None = None
    box: Box | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class Subject:
    """A model to explain, with its inputs and backgrounds.

    Attributes
    ----------
    model : nn.Module
        The model, in eval mode.
    load : callable
        Returns the model's input for an image's name.
    backgrounds : mapping
        Sets of backgrounds by name.
    to_confidence : str or callable
        See :func:`captum_ad.metrics.sufficient_explanation`.
    preparation : str
        How inputs are made from images, in words. If it differs, the model counts as a different one.
    """

    model: nn.Module
    load: Callable[[str], Sample]
    backgrounds: Mapping[str, Backgrounds]
    to_confidence: ToConfidence = "softmax"
    preparation: str = ""


@dataclass(frozen=True)
class Judges:
    """What is measured for every attribution and every masking.

    Attributes
    ----------
    gammas : tuple of float
        Confidence thresholds of the sufficient explanations, 0 to 1.
    sizes : tuple of float
        Equal sizes at which ρ is measured too, 0 to 1.
    step : int, optional
        Positions per step of the scan.
    deletion : bool
        Whether to measure the deletion curve too; the insertion curve is the scan.
    missingness : tuple of float
        Shares of an image that stay visible when missingness is measured; empty to skip it.
    """

    gammas: tuple[float, ...] = PAPER_GAMMAS
    sizes: tuple[float, ...] = (0.1, 0.3, 0.5)
    step: int | None = None
    deletion: bool = False
    missingness: tuple[float, ...] = ()


@dataclass(frozen=True)
class Effort:
    """The effort of the methods; see :class:`captum_ad._methods.Task`.

    Attributes
    ----------
    samples, segments, window : int
        Number of perturbations, number of superpixels, and the side of Occlusion's window in pixels.
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
        A digest of the contents of each image, by name.
    methods, maskings : mapping
        By name; see :func:`captum_ad.metrics.compare`.
    judges : Judges
        What is measured.
    effort : Effort
        The effort of the methods.
    seed : int
        The seed of everything random; all images and maskings get the same perturbations.
    batch_size : int, optional
        Inputs per forward. It changes results only by rounding errors.
    target : Target, optional
        What to explain; by default the model's own answer.
    pictures : bool
        Whether to record maps for a report.
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
        """Digests of everything that the results depend on: weights, code, images and settings."""
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
    """The text that identifies a method: its code, or its name and ``version`` if it has one.

    Give a function a version, ``mine.version = "2"``, if it depends on more than its code, or if changes of its code
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
    """Every unit of the study that a manifest describes."""
    own = (OF_MASKING,) if manifest.settings["missingness"] else ()
    return list(all_units(manifest.models, manifest.images, (*own, *manifest.methods), manifest.maskings))
